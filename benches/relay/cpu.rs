//! Processor time by process, from the scheduler's own counters (nanoseconds).

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

/// Processor time of one process, over its living threads.
pub(crate) fn of(pid: u32) -> Duration {
    let tasks = Path::new("/proc").join(pid.to_string()).join("task");
    let Ok(tasks) = std::fs::read_dir(tasks) else {
        return Duration::ZERO;
    };
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse().ok())
        .map(Duration::from_nanos)
        .sum()
}

/// Processor time of every process that is not ours.
pub(crate) fn foreign(ours: &[u32]) -> HashMap<u32, Duration> {
    let own = std::process::id();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own && !ours.contains(pid))
        .map(|pid| (pid, of(pid)))
        .collect()
}

/// What the others used since `before`. Processes that came and went between are not seen.
pub(crate) fn since(before: &HashMap<u32, Duration>, ours: &[u32]) -> Duration {
    foreign(ours)
        .into_iter()
        .map(|(pid, now)| now.saturating_sub(before.get(&pid).copied().unwrap_or_default()))
        .sum()
}
