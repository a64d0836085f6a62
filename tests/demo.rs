//! `keygate demo`: what a newcomer sees first, and every line that it tells them to try.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::site::keygate;
use crate::support::{Site, wait_for, wait_for_some};

/// Ended by its id, whatever becomes of the test.
struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn sh(line: &str) -> (bool, String) {
    let output = Command::new("sh").args(["-c", line]).output().expect("sh runs");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn every_line_that_the_demo_prints_does_what_it_says() {
    let site = Site::empty();
    let (stdout, stderr) = (site.path("stdout"), site.path("stderr"));
    let mut command = keygate();
    command.args(["demo", "--listen", "127.0.0.1:0"]).env("TMPDIR", site.dir());
    command.stdout(Stdio::from(File::create(&stdout).expect("a file")));
    command.stderr(Stdio::from(File::create(&stderr).expect("a file")));
    let mut demo = Demo(command.spawn().expect("the program starts"));
    let text = |file| std::fs::read_to_string(file).expect("a file");
    wait_for("the ready line", || text(&stderr).contains("\"listening\""));
    let told = text(&stdout);
    site.secrets.learn(&told);

    // "# 401: why" stands above the line that gives it.
    let lines: Vec<&str> = told.lines().collect();
    let mut tried = 0;
    for pair in lines.windows(2) {
        let [comment, line] = pair else { continue };
        if !line.starts_with("curl ") {
            continue;
        }
        let (done, answer) = sh(line);
        assert!(done, "{line}");
        let said: String = comment.trim_start_matches(['#', ' ']).chars().take_while(char::is_ascii_digit).collect();
        if said.is_empty() {
            assert!(answer.contains("keygate_requests_total"), "{answer}");
        } else {
            assert!(answer.starts_with(&format!("HTTP/1.1 {said} ")), "{comment}\n{answer}");
        }
        tried += 1;
    }
    assert!(tried >= 6, "{told}");
    let run = |needle: &str| {
        let line = lines.iter().find(|l| l.contains("--config") && l.ends_with(needle)).expect("the line");
        // There, a terminal would be asked.
        let line = if needle == "secret regenerate" { format!("{line} --yes") } else { (*line).to_owned() };
        // As printed: somebody who has just built keygate has it nowhere in PATH.
        let output = Command::new("/bin/sh").args(["-c", &line]).env("PATH", "/nowhere").output().expect("sh runs");
        assert!(output.status.success(), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let seen = wait_for_some("the last logins", || Some(run("key list")).filter(|list| !list.contains("Never")));
    assert!(seen.contains("READONLY") && seen.contains("ADMIN"), "{seen}");
    run("secret regenerate");
    let reader = lines.iter().find(|l| l.starts_with("curl ") && l.contains("X-API-Key")).expect("the line");
    let (_, answer) = sh(reader);
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("version is 2"), "{answer}");

    kill_process(Pid::from_child(&demo.0), Signal::INT).expect("it runs");
    let status = wait_for_some("its end", || demo.0.try_wait().expect("a child"));
    assert_eq!(status.code(), Some(0));
    site.secrets.assert_absent("the demo's log", text(&stderr).as_bytes());
    let left = std::fs::read_dir(site.dir()).expect("a directory").count();
    assert_eq!(left, 2, "only our two files are left");
}

#[test]
fn a_busy_address_is_told_before_anything_else() {
    let site = Site::empty();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it has one").to_string();
    let mut command = keygate();
    command.args(["demo", "--listen", &address]).env("TMPDIR", site.dir());
    let done = site.run(&mut command).expect(1);
    assert_eq!(done.stdout, "");
    assert!(done.stderr.contains(&format!("cannot listen on {address}")), "{}", done.stderr);
    assert_eq!(std::fs::read_dir(site.dir()).expect("a directory").count(), 0, "nothing was made");
}
