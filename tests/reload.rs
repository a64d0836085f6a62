//! SIGHUP and `keygate reload` put routes, upstreams and limits in force without dropping a request; a bad file is
//! refused whole.

use rustix::process::Signal;

use crate::support::load::Load;
use crate::support::request::{get, post};
use crate::support::{Config, Gateway, Upstream, count, wait_for};

struct Fixture {
    old: Upstream,
    new: Upstream,
    gateway: Gateway,
}

fn before(old: &Upstream) -> Config {
    Config::default()
        .upstream("api", &[old], "pool_size = 128")
        .route("path = \"/\"\nupstream = \"api\"")
        .limits("max_body = \"1KiB\"")
}

fn after(old: &Upstream, new: &Upstream) -> Config {
    Config::default()
        .upstream("api", &[old], "pool_size = 64")
        .upstream("new", &[new], "pool_size = 64")
        .route("path = \"/\"\nupstream = \"api\"")
        .route("path = \"/new\"\nupstream = \"new\"\naccess = \"public\"")
        .limits("max_body = \"2KiB\"")
}

fn start() -> Fixture {
    let (old, new) = (Upstream::named("old"), Upstream::named("new"));
    let gateway = Gateway::start(&before(&old));
    Fixture { old, new, gateway }
}

#[test]
fn reload_puts_routes_upstreams_and_limits_in_force() {
    let f = start();
    let key = f.gateway.key_add("app", "admin");
    assert_eq!(f.gateway.node.get("/new/x", &key).header("x-upstream"), Some("old"));
    assert_eq!(f.gateway.node.send(&post("/x", &[0; 1500]).bearer(&key)).status, 413);
    f.gateway.write_config(&after(&f.old, &f.new));
    f.gateway.cli(&["reload"]).expect(0);
    // In force when the command has returned.
    assert_eq!(f.gateway.node.send(&get("/new/x")).header("x-upstream"), Some("new"));
    assert_eq!(f.gateway.node.get("/x", &key).header("x-upstream"), Some("old"));
    assert_eq!(f.gateway.node.send(&post("/x", &[0; 1500]).bearer(&key)).status, 200);
}

#[test]
fn sighup_does_what_reload_does() {
    let f = start();
    f.gateway.write_config(&after(&f.old, &f.new));
    f.gateway.node.signal(Signal::HUP);
    wait_for("the new route", || f.gateway.node.send(&get("/new/x")).status == 200);
}

#[test]
fn an_upstream_more_needs_no_restart() {
    let (old, new) = (Upstream::named("old"), Upstream::named("new"));
    let config = Config::in_front_of(&old);
    let gateway = Gateway::start(&config);
    let key = gateway.key_add("app", "admin");
    gateway.write_config(&config.upstream("new", &[&new], "").route("path = \"/new\"\nupstream = \"new\""));
    gateway.cli(&["reload"]).expect(0);
    assert_eq!(gateway.node.get("/new/x", &key).header("x-upstream"), Some("new"));
}

#[test]
fn an_open_connection_sees_the_new_configuration() {
    let f = start();
    let key = f.gateway.key_add("app", "admin");
    let mut client = f.gateway.node.connect();
    assert_eq!(client.exchange(&get("/new/x").bearer(&key)).header("x-upstream"), Some("old"));
    f.gateway.write_config(&after(&f.old, &f.new));
    f.gateway.cli(&["reload"]).expect(0);
    assert_eq!(client.exchange(&get("/new/x").bearer(&key)).header("x-upstream"), Some("new"));
}

#[test]
fn a_bad_file_is_refused_with_the_reason_and_the_old_one_stays_in_force() {
    let f = start();
    let key = f.gateway.key_add("app", "admin");
    let good = after(&f.old, &f.new).text("run");
    for (bad, named) in [
        (good.replace("[store]", "[stroe]"), "stroe"),
        (good.replace("upstream = \"new\"", "upstream = \"newer\""), "newer"),
        (good.replace("max_body = \"2KiB\"", "max_body = \"2 parsecs\""), "max_body"),
        ("this is not TOML".to_owned(), "keygate.toml"),
    ] {
        f.gateway.write_config_text(&bad);
        let done = f.gateway.cli(&["reload"]).expect(1);
        assert!(done.stderr.contains(named), "{named}: {}", done.stderr);
        assert_eq!(f.gateway.node.get("/new/x", &key).header("x-upstream"), Some("old"));
        // The command may have refused it by itself; by signal it is the gateway that does.
        let refused = || f.gateway.node.metric("keygate_config_reloads_total", &["refused"]);
        let before = refused();
        f.gateway.node.signal(Signal::HUP);
        wait_for("SIGHUP is refused, too", || refused() > before);
    }
    assert_eq!(f.gateway.node.get("/new/x", &key).header("x-upstream"), Some("old"));
    f.gateway.write_config(&after(&f.old, &f.new));
    f.gateway.cli(&["reload"]).expect(0);
    assert_eq!(f.gateway.node.send(&get("/new/x")).header("x-upstream"), Some("new"));
}

#[test]
fn reload_without_a_running_gateway_fails() {
    let mut f = start();
    f.gateway.node.stop();
    let done = f.gateway.cli(&["reload"]).expect(1);
    assert!(!done.stderr.is_empty());
}

#[test]
fn reload_under_load_drops_no_request() {
    let f = start();
    let key = f.gateway.key_add("app", "admin");
    let load = Load::start(f.gateway.node.address(), 8, move |n| post(&format!("/new/{n}"), b"x").bearer(&key));
    let configs = [after(&f.old, &f.new), before(&f.old)];
    for round in 0..count(10, 200) {
        f.gateway.write_config(&configs[round % 2]);
        if round % 3 == 0 {
            f.gateway.node.signal(Signal::HUP);
        } else {
            f.gateway.cli(&["reload"]).expect(0);
        }
        load.wait_for_more(50);
    }
    let failed: Vec<_> = load.finish().into_iter().filter(|o| o.result != Ok(200)).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert!(f.old.count() > 0 && f.new.count() > 0);
}

#[test]
fn a_request_in_flight_ends_under_the_configuration_that_it_began_with() {
    let f = start();
    let key = f.gateway.key_add("app", "admin");
    let mut client = f.gateway.node.connect();
    client.send(&get("/wait").bearer(&key).bytes());
    wait_for("it is in flight", || f.old.count() == 1);
    f.gateway.write_config(
        &Config::default().upstream("other", &[&f.new], "pool_size = 128").route("path = \"/\"\nupstream = \"other\""),
    );
    f.gateway.cli(&["reload"]).expect(0);
    assert_eq!(f.gateway.node.get("/x", &key).header("x-upstream"), Some("new"));
    f.old.open_gate();
    assert_eq!(client.read("GET").text(), "waited");
}
