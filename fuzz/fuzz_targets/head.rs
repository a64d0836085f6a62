//! Request heads and body framing: what passes has one reading, wherever the bytes were cut on their way.

#![no_main]

use keygate::proxy::body::Framing;
use keygate::proxy::head::{Head, HeadLimits, Parsed, Space, parse};
use libfuzzer_sys::fuzz_target;

const LIMITS: HeadLimits = HeadLimits { size: 768, fields: 8 };

fuzz_target!(|input: &[u8]| {
    let mut space = Space::<16>::new();
    let Parsed::Head(head) = parse(input, &mut space, LIMITS) else { return };
    check(&head, input);

    // Cut short it is not yet a head, or refused; what follows it is not looked at.
    let (own, rest) = input.split_at(head.length);
    for end in 0..own.len() {
        let mut space = Space::<16>::new();
        assert!(!matches!(parse(&own[..end], &mut space, LIMITS), Parsed::Head(_)), "a head ends before its end");
    }
    let mut space = Space::<16>::new();
    let Parsed::Head(alone) = parse(own, &mut space, LIMITS) else { panic!("a head that needs what follows it") };
    assert_eq!((alone.target, alone.host, alone.framing), (head.target, head.host, head.framing));

    // The body ends at the same byte, in one piece and byte by byte.
    let (mut whole, mut bytewise) = (head.framing, head.framing);
    let taken = whole.feed(rest);
    let mut count = 0;
    let stepwise = loop {
        match rest.get(count..).and_then(|left| left.get(..1)).map(|byte| bytewise.feed(byte)) {
            Some(Ok(1)) => count += 1,
            Some(Err(malformed)) => break Err(malformed),
            _ => break Ok(count),
        }
    };
    assert_eq!(taken, stepwise);
    assert!(taken.is_err() || whole == bytewise);
});

fn check(head: &Head<'_, '_>, input: &[u8]) {
    let own = &input[..head.length];
    assert!(own.len() <= LIMITS.size && own.ends_with(b"\r\n\r\n") && head.fields.len() <= LIMITS.fields);
    assert!(own.windows(2).all(|pair| (pair[0] == b'\r') == (pair[1] == b'\n')), "a line ends in another way");
    assert!(!own.contains(&0));
    assert!(head.target.iter().all(u8::is_ascii_graphic) && head.target.starts_with(head.path));
    assert!(head.path.starts_with(b"/") || (head.path == b"*" && head.method == b"OPTIONS"));
    assert!(!matches!(head.method, b"TRACE" | b"CONNECT"));

    let count = |name: &str| head.fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count();
    let (lengths, codings) = (count("content-length"), count("transfer-encoding"));
    assert!(lengths + codings <= 1, "two ways to frame a body");
    assert_eq!(codings == 1, matches!(head.framing, Framing::Chunked(..)));
    assert!(lengths == 1 || !matches!(head.framing, Framing::Length(_)));
    assert!(count("host") <= 1 && !head.host.is_empty());
}
