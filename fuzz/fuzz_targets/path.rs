//! The path rules: a path that passes has one meaning for every reader, whether it decodes or not.

#![no_main]

use keygate::proxy::path::{check, check_bytes, decoded, has_prefix, has_prefix_ignoring_case, is_exactly};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &[u8]| {
    if check(path).is_err() {
        return;
    }
    assert_eq!(check_bytes(path), Ok(()));

    let once: Vec<u8> = decoded(path).collect();
    let twice: Vec<u8> = decoded(&once).collect();
    assert_eq!(once, twice, "a reader that decodes again finds another path");

    let text = std::str::from_utf8(&once).expect("a path that passes decodes to UTF-8");
    assert!(text.starts_with('/') && !text.chars().any(|c| c.is_ascii_control() || c == '\\' || c == ';'));
    assert_eq!(slashes(&once), slashes(path), "decoding must not make or lose a segment");
    assert!(text.split('/').all(|segment| segment != "." && segment != ".."));
    assert!(!text.contains("//"));

    assert!(is_exactly(path, text));
    for (end, _) in text.match_indices('/').skip(1) {
        assert!(has_prefix(path, &text[..end]) && has_prefix_ignoring_case(path, &text[..end]));
    }
    assert!(has_prefix(path, text) && has_prefix_ignoring_case(path, &text.to_ascii_uppercase()));
});

fn slashes(bytes: &[u8]) -> usize {
    bytes.iter().filter(|b| **b == b'/').count()
}
