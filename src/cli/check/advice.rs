//! What to do about what `check --online` finds, in terms of Coze's pages.
//!
//! In comes what was found, out comes a sentence.

use crate::coze::token::Source;
use crate::coze::{Kind, Target};
use crate::turn::{Failure, Kind as Why};

/// What was found to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nobody answers, or not well.
    Away,
    /// What answers is something else.
    NoApi,
    /// It is a Coze of the other kind, or an old one.
    OtherKind,
    /// The token is refused.
    Token,
    /// The OAuth app is refused.
    OAuth,
    /// The machine's clock is wrong.
    Clock,
    /// There is no such bot.
    NoBot,
    /// The bot is somebody else's.
    NoOwner,
    /// It is not published to the API channel.
    NotPublished,
    /// There is no such workflow, or it is not published.
    NoWorkflow,
    /// The workflow is somebody else's.
    NoRight,
    /// No conversation can be made.
    NoConversation,
    /// No file is taken.
    NoUpload,
    /// Something else.
    Other,
}

/// What a refusal says of a bot.
pub(super) fn of_bot(failure: &Failure) -> Found {
    match (failure.coze_code, failure.kind) {
        (Some(100_000_000 | 4015), _) => Found::NotPublished,
        (Some(110_000_001 | 100_000_002 | 103_000_001 | 4101), _) => Found::NoOwner,
        (Some(100_000_003 | 4200 | 103_100_002), _) => Found::NoBot,
        (_, Why::Auth) => Found::Token,
        _ => Found::Other,
    }
}

/// What a refusal says of a workflow.
pub(super) fn of_workflow(failure: &Failure) -> Found {
    match (failure.coze_code, failure.kind) {
        (Some(4101 | 106_000_001), _) => Found::NoRight,
        (_, Why::ModelUnavailable) => Found::NoWorkflow,
        (Some(777_777_780), _) => Found::NoWorkflow,
        (_, Why::Auth) => Found::Token,
        _ => Found::Other,
    }
}

/// What to do.
pub(super) fn on(found: Found, target: &Target) -> String {
    let deployment = &target.deployment;
    let name = &deployment.name;
    let cloud = deployment.kind == Kind::Cloud;
    let kind = target.callee.kind();
    match found {
        Found::Away => {
            format!("see that Coze runs, and look at base_url, proxy and ca_file of [coze.{name}]")
        }
        Found::NoApi if cloud => {
            format!("give [coze.{name}] the base_url https://api.coze.com or https://api.coze.cn")
        }
        Found::NoApi => {
            format!("give [coze.{name}] the base_url of the Coze Studio server, http://HOST:8888 as a rule")
        }
        Found::OtherKind if cloud => {
            format!("if it is a Coze Studio server, set kind = \"studio\" in [coze.{name}]")
        }
        Found::OtherKind => "update Coze Studio, 0.5.1 or later".to_owned(),
        Found::Token => token(target, cloud),
        Found::OAuth => format!(
            "in Coze under API > Authorization > OAuth apps compare the app's id and the public key's fingerprint \
             with app_id and key_id of [coze.{name}.oauth], and see that the private key is that key's"
        ),
        Found::Clock => "set this machine's clock, best by NTP".to_owned(),
        Found::NoBot => {
            "compare bot_id with the number behind /bot/ in the address of the bot's page in Coze".to_owned()
        }
        Found::NoOwner if cloud => {
            "in Coze under API > Authorization give the token the bot's workspace, with the permissions \
             getMetadata and chat"
                .to_owned()
        }
        Found::NoOwner => {
            "use a token of the user who made the bot: avatar > API authorization in Coze Studio".to_owned()
        }
        Found::NotPublished => {
            "open the bot in Coze, click Publish at the top right, tick API, and publish".to_owned()
        }
        Found::NoWorkflow => format!(
            "compare {kind}_id with the address of its page in Coze; then click Test run there, and Publish"
        ),
        Found::NoRight => format!("use a token of a user who may run the {kind}"),
        Found::NoConversation => {
            "give the token the permission to make conversations, and try again".to_owned()
        }
        Found::NoUpload if cloud => "give the token the permission uploadFile, and try again".to_owned(),
        Found::NoUpload => {
            "look at Coze Studio's file storage (MinIO) and at how large a body its proxy lets through"
                .to_owned()
        }
        Found::Other => "look Coze's code up in the table of errors in docs/operations.md".to_owned(),
    }
}

fn token(target: &Target, cloud: bool) -> String {
    let place = match target.token.as_deref() {
        Some(Source::File(file)) => format!("put it into {}", file.path().display()),
        Some(Source::OAuth(_)) => return "see that the OAuth app is authorized in Coze".to_owned(),
        Some(Source::Fixed(_)) | None => "put it into the config".to_owned(),
    };
    if !cloud {
        return format!(
            "make a token in Coze Studio (avatar at the bottom left > API authorization > add), and {place}"
        );
    }
    let (here, there) = match region(target.deployment.client.base_url()) {
        Some(Region::China) => ("coze.cn", "coze.com"),
        Some(Region::World) => ("coze.com", "coze.cn"),
        None => ("this Coze", "another Coze"),
    };
    format!(
        "it has ended, was deleted, or is a token of {there}, which is not good at {here}: make one at {here} \
         (API > Authorization > Personal access tokens), and {place}"
    )
}

/// Which of the clouds.
enum Region {
    China,
    World,
}

fn region(base_url: &str) -> Option<Region> {
    let url = url::Url::parse(base_url).ok()?;
    let host = url.host_str()?.trim_end_matches('.');
    let is =
        |domain: &str| host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    match () {
        () if is("coze.cn") => Some(Region::China),
        () if is("coze.com") => Some(Region::World),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_token_may_be_of_the_other_region() {
        for (url, kind, says) in [
            (
                "https://api.coze.cn",
                "cloud",
                "a token of coze.com, which is not good at coze.cn: make one at coze.cn",
            ),
            ("https://api.coze.com", "cloud", "a token of coze.cn, which is not good at coze.com"),
            ("http://127.0.0.1:1", "cloud", "a token of another Coze"),
            ("http://127.0.0.1:1", "studio", "avatar at the bottom left > API authorization"),
        ] {
            let text = format!(
                "auth.mode = 'none'\n[coze.c]\nbase_url = '{url}'\nkind = '{kind}'\ntoken = 't'\n[models.m]\nbot_id = '7'"
            );
            let snapshot = crate::config::parse(&text, std::path::Path::new("f"), &|_| None).unwrap();
            let target = &snapshot.catalog.models().next().unwrap().target;
            let advice = on(Found::Token, target);
            assert!(advice.contains(says), "{advice}");
        }
    }

    #[test]
    fn what_a_code_means_for_a_bot() {
        let of = |code| of_bot(&crate::coze::error::failure(code, "x"));
        for (codes, found) in [
            (&[100_000_000, 4015][..], Found::NotPublished),
            (&[110_000_001, 100_000_002, 4101], Found::NoOwner),
            (&[100_000_003, 4200], Found::NoBot),
            (&[4100, 700_012_006], Found::Token),
            (&[5000, 4000], Found::Other),
        ] {
            for code in codes {
                assert_eq!(of(*code), found, "{code}");
            }
        }
    }
}
