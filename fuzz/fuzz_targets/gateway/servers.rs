//! The servers behind a gateway: they read requests, and answer as the plan says.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::connectors::L4Connect;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;

use super::messages::{Asked, Reading, answer, request};
use super::plan::{Answer, Part, Plan};
use super::sockets::{End, Held, Most};

/// The servers behind one gateway: whoever connects gets a new one.
#[derive(Debug, Default)]
pub struct Servers {
    connections: Mutex<Vec<Held>>,
    most: Mutex<Most>,
}

impl Servers {
    /// Without a connection, and with this plan's sockets from now on.
    pub fn begin(&self, plan: &Plan) {
        self.connections.lock().expect("nobody panics with it").clear();
        *self.most.lock().expect("nobody panics with it") = plan.most;
    }

    /// All that were made.
    pub fn connections(&self) -> Vec<Held> {
        self.connections.lock().expect("nobody panics with it").clone()
    }
}

#[async_trait]
impl L4Connect for Servers {
    async fn connect(&self, _: &SocketAddr) -> pingora_error::Result<Stream> {
        let (held, stream) = Held::pair(*self.most.lock().expect("nobody panics with it"));
        self.connections.lock().expect("nobody panics with it").push(held);
        Ok(stream)
    }
}

/// What servers do.
pub struct Play<'p> {
    plan: &'p Plan,
    client: Held,
    servers: &'p Servers,
    /// By connection.
    scenes: Vec<Scene>,
    /// Answers of the plan that were begun.
    answers: usize,
    /// Requests: connection, and where they begin.
    order: Vec<(usize, usize)>,
    /// The id of a request that met a kept connection's end: it may come again.
    stale: Option<Vec<u8>>,
}

#[derive(Default)]
struct Scene {
    /// Bytes of requests that were read whole.
    read: usize,
    /// An answer, and parts of it that were given.
    answer: Option<(Answer, usize)>,
    /// The request at `read` was noted, and answered to its end.
    is_noted: bool,
    is_answered: bool,
    /// Requests on this connection.
    requests: usize,
    /// The last of them was HEAD.
    to_head: bool,
    /// What it was answered.
    said: Vec<u8>,
    /// That began before the request was whole.
    is_early: bool,
}

impl Scene {
    fn says(&mut self, bytes: &[u8], is_request_whole: bool) {
        self.said.extend_from_slice(bytes);
        // Interim answers come before the answer.
        while let Reading::Head(interim) = answer(&self.said, false, false) {
            if interim.status() >= 200 {
                break;
            }
            self.said.drain(..interim.length);
        }
        self.is_early |= !is_request_whole && !self.said.is_empty();
    }

    /// Has the connection served its last request whole, and does it serve another (RFC 9112, section 9.3)?
    fn may_be_asked_again(&self) -> Result<(), &'static str> {
        if self.requests == 0 {
            return Ok(());
        }
        if self.is_early {
            return Err("after an answer that began too early");
        }
        // What only some take for an answer is not judged.
        let Reading::Head(said) = answer(&self.said, self.to_head, false) else { return Ok(()) };
        let options = said.all("connection").flat_map(|value| value.split(|byte| *byte == b','));
        let ends = options.map(<[u8]>::trim_ascii).any(|option| option.eq_ignore_ascii_case(b"close"));
        match (said.is_whole, said.is_followed, ends) {
            (false, ..) => Err("before the answer's end"),
            (_, true, _) => Err("with bytes that nobody asked for"),
            (.., true) => Err("on a connection that its server ends"),
            _ => Ok(()),
        }
    }
}

impl<'p> Play<'p> {
    pub fn new(plan: &'p Plan, client: Held, servers: &'p Servers) -> Self {
        Self { plan, client, servers, scenes: Vec::new(), answers: 0, order: Vec::new(), stale: None }
    }

    /// Until everybody waits for somebody else: only then does the clock go on.
    pub async fn rest(&self) {
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let mut all = self.servers.connections();
            all.push(self.client.clone());
            // Each, and no more than each.
            if !all.iter().fold(false, |moves, held| held.lets_in() | moves) {
                return;
            }
        }
    }

    /// Lets every server do what it can. True: something was done.
    pub async fn go_on(&mut self) -> bool {
        let mut has_waited = false;
        let mut has_moved = false;
        loop {
            let connections = self.servers.connections();
            self.scenes.resize_with(connections.len(), Scene::default);
            let mut moves = false;
            for (at, held) in connections.iter().enumerate() {
                moves |= self.serve(at, held, &mut has_waited).await;
            }
            if !moves {
                return has_moved || has_waited;
            }
            has_moved = true;
        }
    }

    async fn serve(&mut self, at: usize, held: &Held, has_waited: &mut bool) -> bool {
        let mut moves = false;
        let scene = &mut self.scenes[at];
        let begins = scene.read;
        let written = held.state().written[begins..].to_vec();
        if let Reading::Head(asked) = request(&written) {
            if !scene.is_noted {
                (scene.is_noted, moves) = (true, true);
                if let Err(why) = scene.may_be_asked_again() {
                    panic!("asked again {why}: {asked}\n{}", self.plan);
                }
                scene.requests += 1;
                (scene.said, scene.to_head, scene.is_early) = (Vec::new(), asked.line.starts_with(b"HEAD "), false);
                match self.stale.take() {
                    // Once more, on another connection: as if it had not been there before.
                    Some(id) if id == asked.id() => {
                        assert!(asked.is_idempotent(), "sent twice: {asked}\n{}", self.plan);
                        self.order.pop();
                    }
                    Some(_) => self.answers += 1,
                    None => {}
                }
                self.order.push((at, begins));
            }
            let scene = &mut self.scenes[at];
            if scene.answer.is_none() && !scene.is_answered {
                let usual = Answer::usual();
                let next = self.plan.answers.get(self.answers).unwrap_or(&usual);
                if asked.is_whole || next.is_early {
                    scene.answer = Some((next.clone(), 0));
                    match next.is_none() && scene.requests > 1 {
                        true => self.stale = Some(asked.id()),
                        false => self.answers += 1,
                    }
                    moves = true;
                }
            }
            if asked.is_whole && scene.is_answered {
                scene.read += asked.length;
                (scene.is_noted, scene.is_answered) = (false, false);
                moves = true;
            }
        }
        while let Some((answer, given)) = &mut self.scenes[at].answer {
            // Asked again, so the answer was whole to the gateway. What came behind it now would be the next one's, to
            // whoever keeps connections.
            if matches!(request(&held.state().written[begins..]), Reading::Head(asked) if asked.is_followed) {
                *given = answer.parts.len();
            }
            let Some(part) = answer.parts.get(*given) else {
                self.scenes[at].answer = None;
                self.scenes[at].is_answered = true;
                moves = true;
                break;
            };
            match part {
                // Once a deed.
                Part::Waits if *has_waited => break,
                Part::Waits => {
                    *given += 1;
                    *has_waited = true;
                    break;
                }
                Part::Bytes(bytes) => held.give(bytes),
                Part::Ends => held.end(End::Ended),
                Part::Breaks => held.end(End::Broken),
            }
            let said = if let Part::Bytes(bytes) = part { bytes.clone() } else { Vec::new() };
            *given += 1;
            moves = true;
            let is_whole = matches!(request(&written), Reading::Head(asked) if asked.is_whole);
            self.scenes[at].says(&said, is_whole);
            self.rest().await;
        }
        moves
    }

    /// What they were asked, in its order.
    pub fn asked(&self) -> Vec<Asked> {
        let connections = self.servers.connections();
        let mut all = Vec::new();
        for (at, begins) in &self.order {
            if let Reading::Head(asked) = request(&connections[*at].state().written[*begins..]) {
                all.push(asked);
            }
        }
        for (at, held) in connections.iter().enumerate() {
            if let Reading::Malformed(why) = request(&held.state().written[self.scenes.get(at).map_or(0, |s| s.read)..])
            {
                panic!("a server was sent what is no request: {why}\n{}", self.plan);
            }
        }
        all
    }
}
