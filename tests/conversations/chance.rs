//! What happens next.

use std::time::Duration;

use cozeway::simulator::Trouble;
use tokio_util::sync::CancellationToken;

use crate::ledger::{Around, Crash, SECRET};
use crate::link::Lost;
use crate::model::Said;
use crate::random::Random;
use crate::stage::MODELS;
use crate::turn::{Leaves, Space, Turn};
use crate::world::{Chat, World};

/// How many conversations a world's clients have at most.
const MAX_CHATS: usize = 12;

/// After so many messages a client begins anew.
const MAX_MESSAGES: usize = 24;

/// What happens in a step.
pub(crate) enum Plan {
    /// Turns, all at the same time.
    Turns(Vec<Turn>, Around),
    /// A gateway ends and begins.
    Restart(usize),
    RestartStore,
    /// Coze forgets a conversation, or clears it.
    Disturb {
        coze: usize,
        conversation: String,
        forget: bool,
    },
}

/// Chooses a step.
pub(crate) fn choose(world: &mut World, step: usize, random: &mut Random) -> Plan {
    if world.chats.len() < 3 || (world.chats.len() < MAX_CHATS && random.percent(5)) {
        let chat = begin(world, random);
        world.chats.push(chat);
    }
    let has_server = world.stage.backend.server().is_some();
    if has_server && random.percent(8) {
        return torn(world, step, random, true);
    }
    let is_killed = has_server && random.percent(50);
    match random.below(100) {
        0 => Plan::RestartStore,
        1 | 2 => Plan::Restart(random.below(2)),
        3..=6 => match disturbance(world, random) {
            Some(plan) => plan,
            None => Plan::Turns(vec![turn(world, step, random)], Around::default()),
        },
        7 | 8 => {
            let turn = Turn { trouble: None, leaves: Leaves::Never, ..turn(world, step, random) };
            Plan::Turns(vec![turn], Around { away: true, is_killed, ..Around::default() })
        }
        9 => {
            let trouble = Some(Trouble::Waits(CancellationToken::new(), false));
            let turn = Turn { trouble, leaves: Leaves::Never, ..turn(world, step, random) };
            Plan::Turns(vec![turn], Around { away_later: true, is_killed, ..Around::default() })
        }
        10..=24 => company(world, step, random),
        25..=27 => Plan::Turns(vec![stray(world, step, random)], Around::default()),
        28 => {
            let trouble = Some(Trouble::Waits(CancellationToken::new(), false));
            let turn = Turn { trouble, leaves: Leaves::WithItsGateway, ..turn(world, step, random) };
            Plan::Turns(vec![turn], Around::default())
        }
        29..=31 => torn(world, step, random, false),
        _ => Plan::Turns(vec![turn(world, step, random)], Around::default()),
    }
}

/// A new conversation of some client's.
fn begin(world: &World, random: &mut Random) -> Chat {
    // Several clients in one space, and the same names in several.
    let space = match world.chats.len() {
        0 => None,
        count => Some(world.chats[random.below(count)].space.clone()).filter(|_| random.percent(50)),
    };
    let space = space.unwrap_or_else(|| Space {
        key: ["one", "two"][random.below(2)],
        model: some_model(random),
        user: *random.pick(&[None, None, Some("ann"), Some("bob")]),
        hint: *random.pick(&[None, None, Some("h1"), Some("h2")]),
    });
    let fresh = format!("n{}", random.below(100));
    let named = random.percent(50) && MODELS[space.model].memory != "off";
    let name = named.then(|| (*random.pick(&["main", "side", &fresh])).to_owned());
    let delta = named && MODELS[space.model].takes_deltas() && random.percent(70);
    let system = random.percent(40).then(|| format!("system {}", random.below(3)));
    Chat { space, name, delta, system, said: Vec::new(), sloppy: random.percent(30), own: None }
}

/// Mostly one whose conversations go on.
fn some_model(random: &mut Random) -> usize {
    let any = random.percent(20);
    let models: Vec<usize> =
        (0..MODELS.len()).filter(|model| any || MODELS[*model].memory == "auto").collect();
    *random.pick(&models)
}

fn disturbance(world: &World, random: &mut Random) -> Option<Plan> {
    let places: Vec<_> = world.ledger.known.values().flat_map(|known| known.places.clone()).collect();
    if places.is_empty() {
        return None;
    }
    let (coze, conversation) = random.pick(&places).clone();
    Some(Plan::Disturb { coze, conversation, forget: random.percent(50) })
}

/// Several turns at the same time.
fn company(world: &mut World, step: usize, random: &mut Random) -> Plan {
    let around = Around { company: true, ..Around::default() };
    let first = turn(world, step, random);
    let mut turns = vec![first];
    for _ in 0..=random.below(2) {
        let next = if random.percent(40) {
            // The same once more: two windows, or an impatient client.
            let twin = world.chats[turns[0].chat].clone();
            if world.chats.len() >= MAX_CHATS + 4 {
                continue;
            }
            world.chats.push(twin);
            Turn { chat: world.chats.len() - 1, replica: random.below(2), ..turns[0].clone() }
        } else {
            let mut next = turn(world, step, random);
            next.new.iter_mut().for_each(|text| text.push_str(&format!(" ({})", turns.len())));
            // One client takes one turn at a time. What happens to a question
            // would happen to whoever asks it first.
            let is_alike = |turn: &Turn| turn.chat == next.chat || turn.question() == next.question();
            if turns.iter().any(is_alike) {
                continue;
            }
            next
        };
        turns.push(next);
    }
    for turn in &mut turns {
        if turn.leaves != Leaves::Never && matches!(turn.trouble, Some(Trouble::Waits(..))) {
            // Who waits for its place must not wait for a client who is gone.
            (turn.trouble, turn.leaves) = (None, Leaves::Never);
        }
    }
    let around = if turns.len() == 1 { Around::default() } else { around };
    Plan::Turns(turns, around)
}

/// In the middle of turns the server of the store is killed, or answers of the
/// store are lost.
fn torn(world: &mut World, step: usize, random: &mut Random, is_killed: bool) -> Plan {
    let (mut turns, around) = match company(world, step, random) {
        Plan::Turns(turns, around) if random.percent(50) => (turns, around),
        _ => (vec![turn(world, step, random)], Around::default()),
    };
    for turn in &mut turns {
        turn.leaves = Leaves::Never;
        turn.trouble = random.percent(50).then(|| Trouble::Waits(CancellationToken::new(), false));
    }
    let micros = |random: &mut Random, most| Duration::from_micros(random.below(most) as u64);
    let pause = if random.percent(50) { Duration::ZERO } else { micros(random, 30_000) };
    let most = *random.pick(&[2000, 12_000]);
    let crash = Crash { after: micros(random, most), pause };
    let lost = *random.pick(&[Lost::Claim, Lost::Settle, Lost::Insert]);
    let around = if is_killed {
        Around { crash: Some(crash), ..around }
    } else {
        Around { lost: Some(lost), ..around }
    };
    Plan::Turns(turns, around)
}

/// A turn with a name that is not its client's to use.
fn stray(world: &mut World, step: usize, random: &mut Random) -> Turn {
    let mut turn = turn(world, step, random);
    if MODELS[turn.space.model].memory == "off" {
        return turn;
    }
    let known: Vec<String> = world.ledger.known.keys().map(|(_, name)| name.clone()).collect();
    let own: Vec<String> =
        known.into_iter().filter(|name| name.starts_with("conv_") && !name.starts_with(SECRET)).collect();
    let name = match random.below(3) {
        0 => "conv_".to_owned(),
        1 => format!("conv_{:032x}", random.next()),
        _ if own.is_empty() => "conv_x".to_owned(),
        _ => random.pick(&own).clone(),
    };
    turn.name = Some(name);
    turn.delta = MODELS[turn.space.model].takes_deltas();
    if turn.delta {
        turn.before.clear();
        turn.new.drain(..turn.new.len() - 1);
    }
    Turn { trouble: None, leaves: Leaves::Never, stop: false, choices: 1, ..turn }
}

/// A turn of some client.
fn turn(world: &mut World, step: usize, random: &mut Random) -> Turn {
    let mut index = random.below(world.chats.len());
    let text = words(step, random);
    let chat = &world.chats[index];
    let named = chat.name.as_ref().and_then(|name| world.ledger.length(&chat.space.label(), name));
    if chat.said.len().max(named.unwrap_or_default()) > MAX_MESSAGES {
        world.chats[index] = begin(world, random);
    }
    if random.percent(8) && world.chats.len() < MAX_CHATS && !world.chats[index].said.is_empty() {
        // A branch that lives on beside what it came from; perhaps by the id
        // that the gateway gave, perhaps without a name.
        let mut branch = world.chats[index].clone();
        let takes_deltas = MODELS[branch.space.model].takes_deltas();
        match &branch.own {
            Some(own) if random.percent(60) && branch.name.is_none() => {
                branch.name = Some(own.clone());
                branch.delta = takes_deltas && random.percent(70);
            }
            _ => (branch.name, branch.delta) = (None, false),
        }
        world.chats.push(branch);
        index = world.chats.len() - 1;
    }
    if random.percent(8) {
        world.chats[index].system = random.percent(70).then(|| format!("system {}", random.below(3)));
    }
    let chat = &world.chats[index];
    let mut turn = Turn::of(index, chat, vec![text]);
    if !chat.delta {
        rewrite(&mut turn, random);
    }
    if random.percent(10) {
        turn.new.insert(0, format!("and {}", turn.new[0]));
    }
    if !chat.delta && !turn.before.is_empty() && random.percent(5) {
        turn.new.insert(0, format!("later {}", turn.new[0]));
    }
    turn.replica = random.below(2);
    turn.stream = random.percent(60);
    turn.stop = random.percent(8);
    turn.salt = random.below(6);
    go_wrong(&mut turn, random);
    if turn.name.is_none() && random.percent(5) {
        turn.choices = 2 + random.below(2);
        (turn.trouble, turn.leaves, turn.stop) = (None, Leaves::Never, false);
    }
    turn
}

/// What a user says; mostly what nobody else has ever said.
fn words(step: usize, random: &mut Random) -> String {
    match random.below(20) {
        0 | 1 => "hi".to_owned(),
        2 => format!("  \u{201c}q{step}\u{201d} \r\n<b>&amp;</b> \\n {}  ", random.below(1000)),
        4 => format!("look q{step}.{}", random.below(1000)),
        3 => format!("q{step} \u{4f60}\u{597d} \u{1f600} e\u{301}"),
        _ => format!("q{step}.{}", random.below(1000)),
    }
}

/// An edit, or the same question again.
fn rewrite(turn: &mut Turn, random: &mut Random) {
    let users: Vec<usize> = (0..turn.before.len())
        .filter(|at| matches!(&turn.before[*at], Said::User(text) if !text.starts_with("later ")))
        .collect();
    if users.is_empty() || random.percent(70) {
        return;
    }
    let again = random.percent(50);
    let at = if again || random.percent(50) { users[users.len() - 1] } else { *random.pick(&users) };
    if again && let Said::User(text) = &turn.before[at] {
        turn.new = vec![text.clone()];
    }
    turn.before.truncate(at);
}

fn go_wrong(turn: &mut Turn, random: &mut Random) {
    let waits = |fails| Some(Trouble::Waits(CancellationToken::new(), fails));
    match random.below(100) {
        0..=7 => {
            turn.trouble = waits(random.percent(15));
            turn.leaves = Leaves::Midway;
            turn.stop = false;
        }
        // While its place is looked for, or later.
        8..=11 => turn.leaves = Leaves::Early(random.next() % *random.clone().pick(&[300, 4000])),
        12..=15 => turn.trouble = waits(false),
        16 | 17 => turn.trouble = Some(Trouble::Refused(*random.pick(&[4013, 700_012_006, 4016, 4028]))),
        18 => turn.trouble = Some(Trouble::ResetUnheard),
        19..=21 => turn.trouble = Some(Trouble::ResetAfter(random.below(8))),
        22 => turn.trouble = Some(Trouble::Silent),
        23 => turn.trouble = Some(Trouble::CannotStart),
        24..=26 => turn.trouble = Some(Trouble::Fails),
        _ => {}
    }
}
