//! The admin plane behind TLS of its own: its certificate, and what is different with it.

use std::process::Command;

use crate::support::{Config, Gateway, Site, Upstream};

/// A new certificate of its own for localhost, at the places that the configuration names.
fn certify(site: &Site, name: &str) {
    let key = site.path("admin.key");
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", &format!("/CN={name}"), "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(site.path("admin.pem"))
        .output()
        .expect("openssl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("chmod");
}

fn start() -> (Upstream, Gateway) {
    let upstream = Upstream::echo();
    let settings = "[admin.tls]\ncertificate = \"admin.pem\"\nkey = \"admin.key\"";
    let config = Config::in_front_of(&upstream).admin(settings);
    let site = Site::empty();
    certify(&site, "first");
    site.write_config(&config);
    site.cli(&["init"]).expect(0);
    let node = site.serve();
    (upstream, Gateway { node, site })
}

/// What curl tells of an exchange with the listener, heads and TLS included.
fn curl(gateway: &Gateway, target: &str, options: &[&str]) -> (bool, String) {
    let url = format!("https://localhost:{}{target}", gateway.node.admin_address().port());
    let output = Command::new("curl")
        .args(["-sSiv", "--noproxy", "*", "--max-time", "20", "--cacert"])
        .arg(gateway.path("admin.pem"))
        .args(options)
        .arg(url)
        .output()
        .expect("curl runs");
    let told = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&told).into_owned())
}

#[test]
fn with_tls_the_session_is_a_cookie_that_needs_it() {
    let (_upstream, gateway) = start();
    let operator = gateway.operator("ada", "admin");
    let login = format!("{{\"token\":\"{}\"}}", operator.token);
    let (done, told) =
        curl(&gateway, "/v1/session", &["-H", "Content-Type: application/json", "--data-binary", &login]);
    assert!(done && told.contains(" 200 OK"), "{told}");
    let cookie = told.lines().find_map(|l| l.strip_prefix("set-cookie: ")).expect("Set-Cookie").trim();
    assert!(cookie.starts_with("__Host-keygate_session=") && cookie.contains("; Secure"), "{cookie}");
    let session = cookie.split(';').next().expect("a pair");
    let cookie = format!("Cookie: {session}");
    let origin = format!("Origin: https://localhost:{}", gateway.node.admin_address().port());
    let insecure = origin.replace("https", "http");
    let (_, told) = curl(&gateway, "/v1/session", &["-H", &cookie]);
    assert!(told.contains(" 200 OK"), "{told}");
    let (_, told) = curl(&gateway, "/v1/session", &["-H", &cookie, "-H", &insecure, "-X", "DELETE"]);
    assert!(told.contains(" 403 "), "{told}");
    let (_, told) = curl(&gateway, "/v1/session", &["-H", &cookie, "-H", &origin, "-X", "DELETE"]);
    assert!(told.contains(" 204 "), "{told}");
}

#[test]
fn a_new_certificate_is_in_force_after_a_reload_and_a_bad_one_never() {
    let (_upstream, gateway) = start();
    let subject = || {
        let (done, told) = curl(&gateway, "/", &[]);
        assert!(done, "{told}");
        told.lines().find_map(|l| l.split("CN=").nth(1)).expect("a subject").trim().to_owned()
    };
    assert_eq!(subject(), "first");
    certify(&gateway, "second");
    gateway.cli(&["reload"]).expect(0);
    assert_eq!(subject(), "second");
    let good = std::fs::read(gateway.path("admin.pem")).expect("it is there");
    std::fs::write(gateway.path("admin.pem"), "nonsense").expect("writes");
    let refused = gateway.cli(&["reload"]).expect(1);
    assert!(refused.stderr.contains("admin.pem"), "{}", refused.stderr);
    std::fs::write(gateway.path("admin.pem"), good).expect("writes");
    assert_eq!(subject(), "second");
}
