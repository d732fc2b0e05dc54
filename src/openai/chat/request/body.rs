//! A request body on the wire: in comes JSON's object, out comes a
//! [`Request`], or the first fault of a field.
//!
//! It holds every parameter that OpenAI names, so that a wrong type is told
//! even where the value is then ignored. Ranges of ignored numbers are not
//! looked at: clients send what their settings say.

use serde::Deserialize;

use super::Request;
use super::coze::Coze;
use super::fault::Fault;
use super::json::{Bool, Given, Integer, Map, Number, Object, Str, Text, TextOr, Whole};
use super::parameters::{
    Audio, FunctionCall, Metadata, Modalities, Parameters, ResponseFormat, Stop, StreamOptions, ToolChoice,
    Tools,
};
use super::parameters::{check_function_call, check_tool_choice, choices};
use super::transcript::Transcript;
use crate::turn::{self, Ask};

/// The whole body; a field that is null is one that is not there.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Body<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    messages: Option<Transcript<'a>>,

    // Honoured.
    stream: Option<bool>,
    stream_options: Option<Object<StreamOptions>>,
    n: Option<Whole>,
    stop: Option<Stop>,
    #[serde(borrow)]
    user: Option<Text<'a>>,
    #[serde(borrow)]
    safety_identifier: Option<Text<'a>>,

    #[serde(borrow)]
    conversation_id: Option<Text<'a>>,
    #[serde(borrow)]
    parameters: Option<Parameters<'a>>,
    coze: Option<Coze>,
    #[serde(borrow)]
    metadata: Option<Metadata<'a>>,

    // Ignored or refused, by their values.
    #[serde(borrow)]
    function_call: Option<TextOr<'a, FunctionCall>>,
    functions: Option<Tools>,
    logprobs: Option<bool>,
    #[serde(borrow)]
    audio: Option<Object<Audio<'a>>>,
    modalities: Option<Modalities>,
    #[serde(borrow)]
    response_format: Option<Object<ResponseFormat<'a>>>,
    store: Option<bool>,
    #[serde(borrow)]
    tool_choice: Option<TextOr<'a, ToolChoice<'a>>>,
    tools: Option<Tools>,

    // Ignored.
    frequency_penalty: Given<Number>,
    logit_bias: Given<Map>,
    max_completion_tokens: Given<Integer>,
    max_tokens: Given<Integer>,
    moderation: Given<Map>,
    parallel_tool_calls: Given<Bool>,
    prediction: Given<Map>,
    presence_penalty: Given<Number>,
    prompt_cache_key: Given<Str>,
    prompt_cache_options: Given<Map>,
    prompt_cache_retention: Given<Str>,
    reasoning_effort: Given<Str>,
    seed: Given<Integer>,
    service_tier: Given<Str>,
    temperature: Given<Number>,
    top_logprobs: Given<Integer>,
    top_p: Given<Number>,
    verbosity: Given<Str>,
    web_search_options: Given<Map>,
}

impl Body<'_> {
    /// Checks what types cannot say.
    pub(super) fn into_request(self) -> Result<Request, Fault> {
        self.refuse()?;
        let (ignored, aloud) = (self.ignored(), self.is_aloud());
        let model = self.model.filter(|Text(model)| !model.is_empty());
        let Text(model) = model.ok_or_else(|| Fault::missing("model"))?;
        let transcript = self.messages.ok_or_else(|| Fault::missing("messages"))?.finish()?;
        let stop = self.stop.unwrap_or_default().into_words()?;
        let choices = choices(self.n)?;
        let user = [self.user, self.safety_identifier].into_iter().flatten().find(|Text(id)| !id.is_empty());
        let stream = self.stream.unwrap_or(false);
        let include_usage = self.stream_options.and_then(|Object(options)| options.include_usage);
        let extras = self.coze.map(Coze::into_extras).transpose().map_err(|fault| fault.within("coze"))?;
        let extras = extras.map(Box::new);
        let names = [
            ("conversation_id", self.conversation_id),
            ("metadata.conversation_id", self.metadata.and_then(|metadata| metadata.conversation_id)),
        ];
        let names = names.into_iter().filter_map(|(field, name)| Some((field, name?.0.into_owned())));
        Ok(Request {
            model: model.into_owned(),
            stream,
            include_usage: stream && include_usage.unwrap_or(false),
            choices,
            ignored,
            conversation: names.collect(),
            ask: Ask {
                aloud,
                user: user.map(|Text(user)| user.into_owned()),
                stop,
                given: turn::Given {
                    parameters: self.parameters.map(|Parameters(object)| object.get().to_owned()),
                    extras,
                },
                ..transcript
            },
        })
    }

    /// Refuses the parameters whose silent loss would change what the answer
    /// means.
    fn refuse(&self) -> Result<(), Fault> {
        if self.logprobs == Some(true) {
            let says = "is not supported: Coze gives no probabilities of tokens; leave it out or send false";
            return Err(Fault::parameter("logprobs", says));
        }
        if let Some(Object(audio)) = self.audio.as_ref().filter(|_| self.is_aloud()) {
            audio.check()?;
        }
        if let Some(Object(format)) = &self.response_format {
            format.check()?;
        }
        if let Some(choice) = &self.tool_choice {
            check_tool_choice(choice)?;
        }
        if let Some(call) = &self.function_call {
            check_function_call(call)?;
        }
        Ok(())
    }

    /// Whether the answer is wanted aloud.
    fn is_aloud(&self) -> bool {
        self.modalities.as_ref().is_some_and(Modalities::is_aloud)
    }

    /// The parameters that are there and cannot be honoured, by name.
    fn ignored(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = [
            ("audio", self.audio.is_some() && !self.is_aloud()),
            (
                "audio.voice",
                self.is_aloud() && self.audio.as_ref().is_some_and(|Object(audio)| audio.has_voice()),
            ),
            ("frequency_penalty", self.frequency_penalty.is_given()),
            ("function_call", self.function_call.is_some()),
            ("functions", self.functions.as_ref().is_some_and(|tools| !tools.is_empty())),
            ("logit_bias", self.logit_bias.is_given()),
            ("max_completion_tokens", self.max_completion_tokens.is_given()),
            ("max_tokens", self.max_tokens.is_given()),
            ("metadata", self.metadata.as_ref().is_some_and(Metadata::is_ignored)),
            ("modalities", self.modalities.as_ref().is_some_and(Modalities::is_ignored)),
            ("moderation", self.moderation.is_given()),
            ("parallel_tool_calls", self.parallel_tool_calls.is_given()),
            ("prediction", self.prediction.is_given()),
            ("presence_penalty", self.presence_penalty.is_given()),
            ("prompt_cache_key", self.prompt_cache_key.is_given()),
            ("prompt_cache_options", self.prompt_cache_options.is_given()),
            ("prompt_cache_retention", self.prompt_cache_retention.is_given()),
            ("reasoning_effort", self.reasoning_effort.is_given()),
            (
                "response_format",
                self.response_format.as_ref().is_some_and(|Object(format)| !format.is_text()),
            ),
            ("seed", self.seed.is_given()),
            ("service_tier", self.service_tier.is_given()),
            ("store", self.store == Some(true)),
            ("temperature", self.temperature.is_given()),
            ("tool_choice", self.tool_choice.is_some()),
            ("tools", self.tools.as_ref().is_some_and(|tools| !tools.is_empty())),
            ("top_logprobs", self.top_logprobs.is_given()),
            ("top_p", self.top_p.is_given()),
            ("verbosity", self.verbosity.is_given()),
            ("web_search_options", self.web_search_options.is_given()),
        ]
        .into_iter()
        .filter_map(|(name, is_ignored)| is_ignored.then_some(name))
        .collect();
        names.sort_unstable();
        names
    }
}
