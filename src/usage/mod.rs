//! Last logins and use counts: recorded per request (`record`, **HOT**), written in batches (`flush`, **COLD**).

pub mod flush;
pub mod record;
