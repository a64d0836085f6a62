//! keygate between a client and servers, all in this process: without network, and on a clock that stands still while
//! anybody has something to do. For targets that look at whole requests.
//!
//! `plan` says what client and servers do, `sockets` are their ends, `servers` answer, `world` has the gateways and
//! lets a plan happen, `messages` reads what was written, `compare` says where lanes may differ.

#![allow(dead_code, reason = "each target uses a part")]

pub mod compare;
pub mod messages;
pub mod plan;
mod servers;
pub mod sockets;
pub mod world;
