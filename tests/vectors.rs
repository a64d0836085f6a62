//! The published test vectors, which were made with openssl, hold for this program, for the openssl of this machine,
//! and for the libraries that integrations sign with.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keygate::credential::SharedSecret;
use keygate::credential::jwt::Jwt;
use serde_json::{Value, json};

use crate::support::exchange::base64url;
use crate::support::site::{encode_with_openssl, keygate};
use crate::support::tools;

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/test-vectors.json")
}

/// The vectors of one kind.
fn vectors(kind: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(file()).expect("docs/test-vectors.json");
    let vectors: Value = serde_json::from_str(&text).expect("JSON");
    vectors[kind].as_array().unwrap_or_else(|| panic!("no {kind}")).clone()
}

#[track_caller]
fn member<'v>(vector: &'v Value, name: &str) -> &'v str {
    vector[name].as_str().unwrap_or_else(|| panic!("no {name} in {vector}"))
}

/// What a program that must succeed prints.
#[track_caller]
fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("text").trim_end().to_owned()
}

#[test]
fn the_published_vectors_hold_for_encode_and_for_openssl() {
    let vectors = vectors("encoded_keys");
    assert!(vectors.len() >= 5);
    for vector in vectors {
        let member = |name: &str| member(&vector, name);
        let (secret, app_key, encoded) = (member("shared_secret"), member("app_key"), member("encoded_key"));
        assert_eq!(encode_with_openssl(app_key, secret), encoded, "openssl");
        let from = |key: &str| {
            let mut command = keygate();
            command.arg("encode").env("KEYGATE_APP_KEY", key).env("KEYGATE_SHARED_SECRET", secret);
            printed(&command.output().expect("the program runs"))
        };
        assert_eq!(from(app_key), encoded, "keygate encode");
        assert_eq!(from(encoded), encoded, "an encoded key is its own source");
        let (signed, mac) = encoded.rsplit_once('_').expect("a MAC");
        assert_eq!((signed, mac), (member("signed_text"), &member("hmac_sha256")[..40]));
    }
}

#[test]
fn the_published_bundles_are_made_and_taken_apart_by_keygate() {
    let vectors = vectors("token_exchange");
    assert!(vectors.len() >= 3);
    for vector in vectors {
        let member = |name: &str| member(&vector, name);
        let names = ["url", "shortname", "appname", "sharedsecret", "appkey"];
        let bundle = member("bundle");
        assert_eq!(STANDARD.decode(bundle).expect("base64"), member("bundle_json").as_bytes());
        let members: serde_json::Map<String, Value> = serde_json::from_str(member("bundle_json")).expect("JSON");
        assert!(members.keys().eq(names), "in this order");
        assert!(names.iter().all(|name| members[*name] == member(name)));

        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("bundle");
        std::fs::write(&path, bundle).expect("writes");
        let mut decode = keygate();
        decode.args(["bundle", "decode", "--reveal", "--file"]).arg(&path);
        let decoded: Value = serde_json::from_str(&printed(&decode.output().expect("it runs"))).expect("JSON");
        assert_eq!(decoded, json!(members));

        let mut encode = keygate();
        encode.args(["bundle", "encode", "--url", member("url"), "--shortname", member("shortname")]);
        encode.args(["--name", member("appname")]);
        encode.env("KEYGATE_APP_KEY", member("appkey")).env("KEYGATE_SHARED_SECRET", member("sharedsecret"));
        assert_eq!(printed(&encode.output().expect("it runs")), bundle);
        let mut again = keygate();
        again.args(["bundle", "encode"]);
        again.env("KEYGATE_APP_KEY", bundle).env("KEYGATE_SHARED_SECRET", member("sharedsecret"));
        assert_eq!(printed(&again.output().expect("it runs")), bundle, "a bundle is its own source");
    }
}

/// Signs as docs/test-vectors.md says.
const SIGN: &str = "base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
INPUT=$(printf %s \"$HEADER\" | base64url).$(printf %s \"$CLAIMS\" | base64url)
echo $INPUT.$(printf %s \"$INPUT\" | openssl dgst -sha256 -hmac \"$SHARED_SECRET\" -binary | base64url)";

#[test]
fn the_published_jwts_hold_for_keygate_and_for_openssl() {
    let page = std::fs::read_to_string(file().with_extension("md")).expect("docs/test-vectors.md");
    assert!(page.contains(SIGN), "the page says how they were made");
    for vector in vectors("token_exchange") {
        let member = |name: &str| member(&vector, name);
        let jwt = member("jwt");
        let mut shell = Command::new("sh");
        shell.args(["-c", SIGN]).env("HEADER", member("jwt_header")).env("CLAIMS", member("jwt_claims"));
        shell.env("SHARED_SECRET", member("sharedsecret"));
        assert_eq!(printed(&shell.output().expect("sh runs")), jwt, "openssl");
        let input = [member("jwt_header"), member("jwt_claims")].map(|text| base64url(text.as_bytes())).join(".");
        assert_eq!(input, member("signing_input"));
        let mac: Vec<u8> = member("hmac_sha256")
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("text"), 16).expect("hexadecimal digits"))
            .collect();
        assert_eq!(format!("{input}.{}", base64url(&mac)), jwt);
        let key = SharedSecret::parse(member("sharedsecret")).expect("a shared secret").mac_key();
        let read = Jwt::parse(jwt.as_bytes()).expect("a JWT");
        assert!(read.signature_holds(&key));
        assert_eq!(read.claims.app_key.expose(), member("appkey"));
    }
}

/// Fails unless each JWT verifies and says what it should.
const PYJWT: &str = r#"
import json, sys, jwt
for vector in json.load(open(sys.argv[1]))["token_exchange"]:
    times = {"verify_iat": False, "verify_exp": False, "verify_nbf": False}
    claims = jwt.decode(vector["jwt"], vector["sharedsecret"], algorithms=["HS256"], options=times)
    assert claims == json.loads(vector["jwt_claims"]), claims
    assert jwt.get_unverified_header(vector["jwt"]) == json.loads(vector["jwt_header"])
    print(claims["appname"])
"#;

const JOSE: &str = r#"
import { readFileSync } from "node:fs";
import { compactVerify } from "jose";
import jsonwebtoken from "jsonwebtoken";
for (const vector of JSON.parse(readFileSync(process.argv[2], "utf8")).token_exchange) {
  const { payload } = await compactVerify(vector.jwt, new TextEncoder().encode(vector.sharedsecret));
  if (new TextDecoder().decode(payload) !== vector.jwt_claims) throw new Error("other claims");
  const times = { algorithms: ["HS256"], ignoreExpiration: true, ignoreNotBefore: true };
  console.log(jsonwebtoken.verify(vector.jwt, vector.sharedsecret, times).appname);
}
"#;

#[test]
fn the_published_jwts_hold_for_the_libraries_of_integrations() {
    let names: Vec<String> = vectors("token_exchange").iter().map(|v| member(v, "appname").to_owned()).collect();
    let directory = tempfile::tempdir().expect("a directory");
    let script = directory.path().join("verify.mjs");
    std::fs::write(&script, JOSE).expect("writes");
    let python = tools::python().args(["-c", PYJWT]).arg(file()).env("PYTHONIOENCODING", "utf-8").output();
    let node = tools::node(directory.path()).arg(&script).arg(file()).output();
    for output in [python, node] {
        assert_eq!(printed(&output.expect("it runs")), names.join("\n"));
    }
}
