//! Coze, as far as it takes: a thread for each connection that answers
//! `/v3/chat` with what was rendered ahead.
//!
//! What is answered is what `benches/run` has answered, in the wire form of
//! the community server. Of paced answers each part waits until the client
//! has had the one before, so that each is read by itself.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use memchr::memmem;

use crate::scenario::Scenario;
use crate::wire::{self, Answer, BLANK};

/// What a question's number stands behind.
pub(crate) const QUESTION: &[u8] = b"Question ";

/// Where it listens, and how its paced answers go on.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    next: Sender<()>,
}

#[derive(Debug)]
struct Book {
    answers: Vec<(Scenario, Answer)>,
    next: Mutex<Receiver<()>>,
}

impl Peer {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (next, waits) = channel();
        let scenarios = [Scenario::One, Scenario::Burst, Scenario::Paced];
        let answers = scenarios.map(|scenario| (scenario, wire::coze(scenario))).into();
        let book = Arc::new(Book { answers, next: Mutex::new(waits) });
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let book = Arc::clone(&book);
                // It ends with the connection, or with the process.
                std::thread::spawn(move || book.serve(stream.unwrap()));
            }
        });
        Self { address, next }
    }

    /// Lets a paced answer go on.
    pub(crate) fn go_on(&self) {
        self.next.send(()).unwrap();
    }
}

impl Book {
    fn serve(&self, mut stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let (mut request, mut out) = (Vec::new(), Vec::new());
        while read_request(&mut stream, &mut request) {
            let is_asked = |scenario: Scenario| memmem::find(&request, scenario.bot().as_bytes()).is_some();
            let found = self.answers.iter().find(|(scenario, _)| is_asked(*scenario));
            let (_, answer) = found.expect("a bot that is known");
            // Both turns of a conversation have one number, so Coze's ids are
            // the same in both answers.
            answer.fill(number(&request), &mut out);
            let mut from = 0;
            for part in &answer.parts {
                if from > 0 {
                    self.next.lock().unwrap().recv().unwrap();
                }
                stream.write_all(&out[from..*part]).unwrap();
                from = *part;
            }
        }
    }
}

/// The number of the last question.
fn number(request: &[u8]) -> u64 {
    let at = memmem::rfind(request, QUESTION).expect("a question") + QUESTION.len();
    std::str::from_utf8(&request[at..at + BLANK.len()]).unwrap().parse().unwrap()
}

/// Whether there is another request, which is read.
fn read_request(stream: &mut TcpStream, request: &mut Vec<u8>) -> bool {
    request.clear();
    let mut some = [0; 16 * 1024];
    loop {
        match stream.read(&mut some) {
            Ok(0) | Err(_) => return false,
            Ok(read) => request.extend_from_slice(&some[..read]),
        }
        if crate::client::is_whole(request) {
            return true;
        }
    }
}
