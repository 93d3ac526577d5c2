//! Waiting for a time to within some microseconds, which the runtime's own timers round up to
//! milliseconds.

use tokio::time::Duration;
use xscope_trace::{Nanos, clock::monotonic};

/// To fall asleep and be woken takes longer.
const TOO_SHORT: Duration = Duration::from_micros(20);

/// A timer of the kernel that the runtime waits for as for a socket.
#[derive(Debug)]
pub(crate) struct Alarm {
    #[cfg(target_os = "linux")]
    timer: Option<kernel::Timer>,
}

impl Alarm {
    /// Needs a runtime. Where the kernel has no such timer or gives none, the runtime's own stands in.
    pub(crate) fn new() -> Self {
        Self {
            #[cfg(target_os = "linux")]
            timer: kernel::Timer::new().ok(),
        }
    }

    /// Returns at that time of the monotonic clock, at once if it has passed.
    pub(crate) async fn until(&self, time: Nanos) {
        loop {
            let Some(left) = left(time) else { return };
            if left < TOO_SHORT {
                // Others run meanwhile.
                tokio::task::yield_now().await;
                continue;
            }
            #[cfg(target_os = "linux")]
            if let Some(timer) = &self.timer
                && timer.expires(time).await.is_ok()
            {
                continue;
            }
            tokio::time::sleep(left).await;
        }
    }
}

/// How long it is until then, if it has not passed.
fn left(time: Nanos) -> Option<Duration> {
    let left = u64::try_from((time - monotonic()).0).ok()?;
    (left > 0).then(|| Duration::from_nanos(left))
}

#[cfg(target_os = "linux")]
mod kernel {
    use std::fs::File;
    use std::io;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::net::unix::pipe;
    use xscope_trace::Nanos;

    /// It reads like a pipe: nothing until it expires, then how often it did. The runtime has a
    /// type for pipes; the one for any file needs unsafe code.
    #[derive(Debug)]
    pub(super) struct Timer(pipe::Receiver);

    impl Timer {
        pub(super) fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            Ok(Self(pipe::Receiver::from_file_unchecked(File::from(timer))?))
        }

        /// Waits for that time.
        pub(super) async fn expires(&self, Nanos(at): Nanos) -> io::Result<()> {
            let it_value = Timespec { tv_sec: at / 1_000_000_000, tv_nsec: at % 1_000_000_000 };
            let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
            let time = Itimerspec { it_interval, it_value };
            // This also takes back that it has expired before.
            timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &time)?;
            loop {
                self.0.readable().await?;
                match self.0.try_read(&mut [0; 8]) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => return read.map(drop),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_never_rings_early() {
        let alarm = Alarm::new();
        for micros in [0, 30, 300, 1500] {
            let time = monotonic() + Nanos(micros * 1000);
            alarm.until(time).await;
            assert!(monotonic() >= time);
        }
        // One that was given up does not end the next one.
        let later = alarm.until(monotonic() + Nanos(200_000));
        drop(tokio::time::timeout(Duration::ZERO, later).await);
        let time = monotonic() + Nanos(1_000_000);
        alarm.until(time).await;
        assert!(monotonic() >= time);
    }
}
