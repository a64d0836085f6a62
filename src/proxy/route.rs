//! From host and path to a route, and from a route's rules to what a request must have.

use std::sync::Arc;

use crate::config::resolved::{self, Access, Demand};
use crate::credential::Role;
use crate::proxy::head::Head;
use crate::proxy::path;
use crate::proxy::upstream::Upstream;

/// All routes, by host.
#[derive(Debug)]
pub struct Routes {
    /// Hosts that routes name, lower case. A host that is named here is served by its own routes alone, as
    /// a virtual host is elsewhere: it never falls back to those without a host.
    hosts: Vec<(Box<str>, Vec<Arc<Route>>)>,
    /// Routes without a host.
    any: Vec<Arc<Route>>,
}

/// One route.
#[derive(Debug)]
pub struct Route {
    /// Host and path: its name in metrics, logs and keys' `allowed_routes`.
    pub label: Box<str>,
    /// Position among all routes, for metric handles.
    pub index: usize,
    /// Where its requests go.
    pub upstream: Arc<Upstream>,
    /// Odd paths are forwarded.
    pub lenient_paths: bool,
    prefix: Box<str>,
    /// Prefixes of other routes that are below this one's, but for those that are open to all.
    below: Box<[Box<str>]>,
    access: Access,
    preflight: bool,
    rules: Vec<resolved::Rule>,
}

impl Routes {
    /// From the configuration; `upstreams` are in its order.
    #[must_use]
    pub fn new(routes: &[resolved::Route], upstreams: &[Arc<Upstream>]) -> Self {
        let mut made = Self { hosts: Vec::new(), any: Vec::new() };
        let is_below = |route: &resolved::Route, other: &resolved::Route| {
            let is_open = other.access == Access::Public && other.rules.is_empty();
            !is_open
                && other.host == route.host
                && other.path.len() > route.path.len()
                && path::has_prefix_ignoring_case(other.path.as_bytes(), &route.path)
        };
        for (index, route) in routes.iter().enumerate() {
            // The configuration was checked: the upstream is there.
            let Some(upstream) = upstreams.get(route.upstream) else { continue };
            let entry = Arc::new(Route {
                label: route.label().into(),
                index,
                upstream: Arc::clone(upstream),
                lenient_paths: route.lenient_paths,
                prefix: route.path.as_str().into(),
                below: routes
                    .iter()
                    .filter(|other| is_below(route, other))
                    .map(|other| (&*other.path).into())
                    .collect(),
                access: route.access,
                preflight: route.preflight,
                rules: route.rules.clone(),
            });
            match &route.host {
                None => made.any.push(entry),
                Some(host) => match made.hosts.iter_mut().find(|(name, _)| **name == **host) {
                    Some((_, list)) => list.push(entry),
                    None => made.hosts.push((host.as_str().into(), vec![entry])),
                },
            }
        }
        for list in made.hosts.iter_mut().map(|(_, list)| list).chain([&mut made.any]) {
            list.sort_by_key(|route| std::cmp::Reverse(route.prefix.len()));
        }
        made
    }

    /// The route of a request: by the name of its host (without port), then by the longest path prefix.
    #[must_use]
    pub fn find(&self, host_name: &[u8], path: &[u8]) -> Option<&Arc<Route>> {
        let list = self
            .hosts
            .iter()
            .find(|(host, _)| host_name.eq_ignore_ascii_case(host.as_bytes()))
            .map_or(&self.any, |(_, list)| list);
        list.iter().find(|route| path::has_prefix(path, &route.prefix))
    }
}

impl Route {
    /// Would a server that ignores case take this path, which is this route's, for one that another route guards?
    #[must_use]
    pub fn is_nearly_another(&self, path: &[u8]) -> bool {
        // None of them is a prefix as it stands: the request would be on that route.
        self.below.iter().any(|prefix| path::has_prefix_ignoring_case(path, prefix))
    }

    /// What this request must have.
    ///
    /// Without rules: on a public route nothing; else READONLY for safe methods, ADMIN for all others and
    /// for upgrades. A rule that matches takes the place of that; of several, the one that demands more. A rule
    /// that lowers the demand matches its path exactly; any other matches segment prefixes in any case, and its
    /// GET covers HEAD and QUERY. So no spelling of a path slips past a rule that protects it, and none borrows one that
    /// opens another. An odd path (`resolved`: what it might be taken for) must satisfy both readings.
    #[must_use]
    pub fn demand(&self, head: &Head<'_, '_>, resolved: Option<&[u8]>) -> Demand {
        let demand = self.demand_of(head);
        match resolved {
            None => demand,
            Some(path) => demand.max(self.demand_of(&Head { path, ..*head })),
        }
    }

    fn demand_of(&self, head: &Head<'_, '_>) -> Demand {
        if self.preflight && head.is_preflight {
            return Demand::Public;
        }
        let usual = match self.access {
            Access::Public => Demand::Public,
            Access::Key if is_safe(head.method) && !head.is_upgrade => Demand::Role(Role::ReadOnly),
            Access::Key => Demand::Role(Role::Admin),
        };
        if self.rules.is_empty() {
            return usual;
        }
        self.rules.iter().filter(|rule| rule_matches(rule, head, usual)).map(|rule| rule.demand).max().unwrap_or(usual)
    }
}

fn rule_matches(rule: &resolved::Rule, head: &Head<'_, '_>, usual: Demand) -> bool {
    let lowers = rule.demand < usual;
    let covers = |method: &String| {
        method.as_bytes() == head.method || (!lowers && method == "GET" && matches!(head.method, b"HEAD" | b"QUERY"))
    };
    let method_matches = rule.methods.is_empty() || rule.methods.iter().any(covers);
    if !method_matches || (lowers && head.is_upgrade) {
        return false;
    }
    match &rule.path {
        None => true,
        Some(path) if lowers => path::is_exactly(head.path, path),
        Some(path) => path::has_prefix_ignoring_case(head.path, path),
    }
}

/// Safe methods that keygate knows (RFC 9110, section 9.2.1; QUERY: draft-ietf-httpbis-safe-method-w-body).
#[must_use]
pub fn is_safe(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"QUERY")
}

/// Idempotent methods (RFC 9110, section 9.2.2): a request may be sent again.
#[must_use]
pub fn is_idempotent(method: &[u8]) -> bool {
    is_safe(method) || matches!(method, b"PUT" | b"DELETE")
}
