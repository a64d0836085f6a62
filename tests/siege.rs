//! Attacks by numbers: more connections than there may be, connections that come and go, requests that are refused as
//! fast as they can be sent, and descriptors that run out.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use socket2::{Domain, Socket, Type};

use crate::support::request::{get, request};
use crate::support::siege::{OPEN, Rig, memory_kib};
use crate::support::swarm::{Script, Swarm};
use crate::support::{Client, count, wait_for};

/// What an idle connection may hold.
const IDLE_BYTES: u64 = 4 << 10;

/// A connection from this address of ours, as bare as can be.
fn connect(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect(&to.into())?;
    Ok(socket.into())
}

#[test]
fn ten_thousand_idle_connections_hold_little_memory() {
    let rig = Rig::patient("");
    let (connections, served) = (count(500, 10_000), rig.get("/status/204"));
    // What the first of them take once and for all.
    drop(Swarm::start(1, rig.address(), 200, Script { before: served.clone(), ..Script::default() }).stop());
    for (part, before) in [(2, Vec::new()), (3, served)] {
        rig.gives_back();
        let kib = memory_kib(&rig.gateway);
        let name = if before.is_empty() { "new" } else { "used" };
        let swarm = Swarm::start(part, rig.address(), connections, Script { before, ..Script::default() });
        wait_for("all are there", || rig.gauge("keygate_connections") == connections);
        let bytes = memory_kib(&rig.gateway).saturating_sub(kib) * 1024 / connections as u64;
        println!("{connections} idle connections, {name}: {bytes} bytes each");
        // Of few, most is what the allocator takes at a time.
        assert!(bytes <= count(4 * IDLE_BYTES, IDLE_BYTES), "{name}: {bytes} bytes each");
        swarm.stop();
    }
    rig.gives_back();
}

/// Who is refused takes nobody's place, though it neither reads nor leaves.
#[test]
fn a_flood_from_one_address_leaves_room_for_others() {
    let rig = Rig::patient("max_connections = 300\nmax_connections_per_address = 50");
    let flood: Vec<_> = (0..count(1000, 5000))
        .map(|_| connect(Ipv4Addr::new(127, 9, 9, 9), rig.address()).expect("accepted"))
        .collect();
    for _ in 0..count(50, 500) {
        assert_eq!(rig.gateway.node.get("/x", &rig.key).status, 200);
    }
    wait_for("all but those that may stay are sent away", || rig.gauge("keygate_connections") <= 50);
    assert!(rig.metric("keygate_refusals_total", &["reason=\"overloaded\""]) >= flood.len() - 50);
    drop(flood);
    rig.gives_back();
}

#[test]
fn more_connections_than_may_be_are_sent_away_and_the_others_go_on() {
    let rig = Rig::patient("max_connections = 100");
    let mut inside: Vec<Client> = (0..100).map(|_| rig.gateway.node.connect()).collect();
    let is_served = |client: &mut Client| client.exchange(&get("/x").bearer(&rig.key)).status == 200;
    assert!(inside.iter_mut().all(is_served));
    let healthy = rig.gauge("keygate_connections");
    let began = Instant::now();
    let mut sent_away = 0;
    let flood = count(1000, 10_000);
    for number in 0..flood {
        let from = Ipv4Addr::new(127, 8, 1, u8::try_from(1 + number % 200).expect("below 256"));
        // Some are told, some are not.
        sent_away += usize::from(connect(from, rig.address()).is_ok());
        if number % 100 == 0 {
            assert!(inside.iter_mut().take(10).all(is_served), "{number} came");
        }
    }
    println!("{sent_away} of {flood} connected within {:?}", began.elapsed());
    wait_for("they are gone", || rig.gauge("keygate_connections") == healthy);
    assert!(inside.iter_mut().all(is_served));
    drop(inside);
    rig.gives_back();
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let rig = Rig::start();
    let healthy = rig.healthy();
    for number in 0..count(1000, 40_000) {
        let from = Ipv4Addr::new(127, 7, 1, u8::try_from(1 + number % 250).expect("below 256"));
        let socket = connect(from, rig.address()).expect("accepted");
        if number % 2 == 0 {
            // Closed by a reset.
            socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).expect("an option");
        }
    }
    println!("{}", healthy.finish());
    rig.gives_back();
}

/// Four connections, each with as much in its pipeline as the gateway takes.
#[test]
fn refusals_by_the_thousand_are_all_given() {
    let rig = Rig::patient("");
    let reader = rig.gateway.key_add("reader", "readonly");
    let kinds = [
        (get("/x").bytes(), 401),
        (get("/x").bearer("kg_1_aaaaaaaaaaaa_forged").bytes(), 401),
        (request("DELETE", "/x").bearer(&reader).bytes(), 403),
        (request("GET", "/a/../b").bytes(), 400),
    ];
    let (times, before) = (count(2000, 50_000), rig.metric("keygate_refusals_total", &[]));
    std::thread::scope(|scope| {
        for (bytes, status) in &kinds {
            let mut client = rig.gateway.node.connect();
            scope.spawn(move || {
                for _ in 0..times / 50 {
                    client.send(&bytes.repeat(50));
                    for _ in 0..50 {
                        assert_eq!(client.read("GET").status, *status);
                    }
                }
            });
        }
    });
    assert_eq!(rig.metric("keygate_refusals_total", &[]) - before, times * kinds.len());
    rig.gives_back();
}

#[test]
fn without_descriptors_new_connections_wait_and_the_others_go_on() {
    let rig = Rig::patient("");
    let mut kept = rig.gateway.node.connect();
    let is_served = |client: &mut Client| client.exchange(&get("/x").bearer(&rig.key)).status == 200;
    assert!(is_served(&mut kept));
    let pid = rig.gateway.node.pid();
    let open = || std::fs::read_dir(format!("/proc/{pid}/fd")).expect("/proc").count() as u64;
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid"));
    let limit = |current| prlimit(pid, Resource::Nofile, Rlimit { current, ..getrlimit(Resource::Nofile) });
    let before = limit(Some(open() + 20)).expect("a limit");
    let waiting: Vec<_> =
        (0..count(50, 1000)).map(|_| connect(Ipv4Addr::LOCALHOST, rig.address()).expect("queued")).collect();
    let errors = || rig.metric("keygate_accept_errors_total", &[]);
    // The listener for metrics has none left either.
    let (used, began) = (cpu(rig.gateway.node.pid()), Instant::now());
    for _ in 0..200 {
        assert!(is_served(&mut kept));
    }
    while began.elapsed() < count(Duration::from_millis(500), Duration::from_secs(5)) {
        assert!(is_served(&mut kept));
        std::thread::sleep(Duration::from_millis(20));
    }
    let share = cpu(rig.gateway.node.pid()).saturating_sub(used).as_secs_f64() / began.elapsed().as_secs_f64();
    println!("{share:.2} of a core while connections wait");
    assert!(share < 0.9, "accepting spins");
    limit(before.current).expect("a limit");
    wait_for("new ones are accepted", || {
        Client::try_connect(rig.address())
            .is_ok_and(|mut client| client.try_exchange(&get("/x").bearer(&rig.key)).is_ok())
    });
    assert!(errors() > 0);
    assert!(is_served(&mut kept));
    drop((waiting, kept));
    rig.gives_back();
}

/// What a process has used of all cores.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("/proc");
    // Behind the name: the state is the third field of proc(5), both times are the 14th and the 15th.
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("a number") + fields[12].parse::<u64>().expect("a number");
    // USER_HZ is a hundred everywhere.
    Duration::from_millis(10 * ticks)
}

/// Somebody else's attacks, for as long as each takes. It looks once a second whether it is answered itself.
#[test]
fn slowhttptest_finds_the_service_available() {
    let rig = Rig::with("max_connections_per_address = 10000");
    let report = tempfile::tempdir().expect("a directory");
    let connections = count("200", "3000");
    let modes: [(&str, &[&str]); 4] = [
        ("heads", &["-H", "-i", "1", "-x", "24"]),
        ("bodies", &["-B", "-i", "20", "-s", "8192", "-x", "10", "-t", "POST"]),
        ("readers", &["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "3"]),
        ("ranges", &["-R", "-t", "HEAD", "-a", "10", "-b", "3000"]),
    ];
    for (name, arguments) in &modes[..count(1, 4)] {
        let healthy = rig.healthy();
        let out = report.path().join(name);
        let done = Command::new("slowhttptest")
            .args(*arguments)
            .args(["-c", connections, "-r", count("200", "1000"), "-l", count("5", "40"), "-p", "3", "-g", "-o"])
            .arg(&out)
            .args(["-u", &format!("http://{}{OPEN}", rig.address())])
            .output()
            .expect("slowhttptest runs");
        let told = String::from_utf8_lossy(&done.stdout).into_owned();
        println!("{name}: {}", healthy.finish());
        let rows = std::fs::read_to_string(out.with_extension("csv")).unwrap_or_else(|e| panic!("{e}: {told}"));
        // Seconds, closed, pending, connected, available; the last is 0 where its own request was not answered in time.
        let unavailable: Vec<&str> = rows.lines().skip(1).filter(|row| row.trim_end().ends_with(",0")).collect();
        assert!(unavailable.iter().all(|row| row.contains(",0,0,0")), "{name}: {unavailable:?}\n{told}");
        println!("{name}: {} seconds", rows.lines().count() - 1);
        rig.gives_back();
    }
}
