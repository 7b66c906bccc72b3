//! CPU time of a process, from `/proc`.

use std::time::Duration;

use anyhow::Context;

/// User and system time that process `pid` has taken so far; its resolution is a clock tick, usually 10 ms.
pub(crate) fn time_of(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    // The second field is the command in parentheses and may hold spaces; utime and stime are fields 14 and 15.
    let (_, rest) =
        text.rsplit_once(") ").with_context(|| format!("{path} has another form than proc(5) says"))?;
    let ticks = |field: usize| rest.split(' ').nth(field).and_then(|word| word.parse::<u64>().ok());
    let total = ticks(11).zip(ticks(12)).map(|(user, system)| user + system);
    let total = total.with_context(|| format!("{path} has another form than proc(5) says"))?;
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_millis(total * 1000 / per_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn working_takes_time() {
        let me = std::process::id();
        let before = time_of(me).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while time_of(me).unwrap() < before + Duration::from_millis(50) {
            assert!(std::time::Instant::now() < deadline, "no CPU time was counted");
            std::hint::black_box((0..100_000_u64).sum::<u64>());
        }
    }
}
