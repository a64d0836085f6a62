//! `keygate nodes`: the gateway's processes, and whether they follow.

use clap::Args;
use comfy_table::{Cell, Color};
use serde_json::json;

use super::Exit;
use super::context::{Context, block_on};
use super::output::{self, cell, line};
use crate::store::NodeRow;

/// List the gateway's nodes and how far each has followed the store.
#[derive(Args)]
pub(super) struct Arguments {}

pub(super) fn run(context: &Context, _: &Arguments) -> anyhow::Result<Exit> {
    let config = context.config()?;
    let (nodes, head, lifecycle) = block_on(async {
        let lifecycle = context.lifecycle(&config).await?;
        let head = lifecycle.store.head().await?.revision;
        Ok((lifecycle.store.nodes().await?, head, lifecycle))
    })?;
    let gone = |node: &NodeRow| lifecycle.locks.surely_gone(&node.incarnation);
    let lease = |node: &NodeRow| humantime::format_duration(node.lease).to_string();
    if context.output.is_json() {
        let node = |n: &NodeRow| {
            json!({
                "id": n.id,
                "incarnation": n.incarnation,
                "version": n.version,
                "lease": lease(n),
                "lease_ms": u64::try_from(n.lease.as_millis()).unwrap_or(u64::MAX),
                "applied": n.applied,
                "behind": head.saturating_sub(n.applied),
                "joined_at": n.joined_at.rfc3339(),
                "seen_at": n.seen_at.rfc3339(),
                "gone": gone(n),
            })
        };
        output::json(&json!({ "revision": head, "nodes": nodes.iter().map(node).collect::<Vec<_>>() }))?;
        return Ok(Exit::Done);
    }
    if nodes.is_empty() {
        line("No node is running.")?;
        return Ok(Exit::Done);
    }
    let row = |n: &NodeRow| {
        let follows = if gone(n) {
            context.output.marked("gone", Color::Red)
        } else if n.applied >= head {
            Cell::new("up to date")
        } else {
            context.output.marked(&format!("{} behind", head - n.applied), Color::Yellow)
        };
        vec![cell(&n.id), cell(&n.version), cell(&lease(n)), follows, cell(&n.seen_at.for_people())]
    };
    context.output.table(&["Node", "Version", "Lease", "Follows", "Seen (UTC)"], nodes.iter().map(row).collect())?;
    Ok(Exit::Done)
}
