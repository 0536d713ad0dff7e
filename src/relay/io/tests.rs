use std::future::poll_fn;
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

/// Writes and flushes as an HTTP/2 connection does: each frame, then a flush that may promise.
async fn write_frames(io: &mut CoalescingIo<DuplexStream>, frames: &[Vec<u8>]) {
    for frame in frames {
        let mut rest = frame.as_slice();
        while !rest.is_empty() {
            let taken = poll_fn(|cx| Pin::new(&mut *io).poll_write(cx, rest))
                .await
                .unwrap();
            rest = &rest[taken..];
        }
        poll_fn(|cx| Pin::new(&mut *io).poll_flush(cx))
            .await
            .unwrap();
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(20), work)
            .await
            .expect("bytes stayed behind")
    })
}

fn frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let size = prop_oneof![4 => 1..300_usize, 2 => 300..20_000_usize, 1 => 60_000..140_000_usize];
    proptest::collection::vec(
        (size, any::<u8>()).prop_map(|(n, seed)| pattern(n, seed)),
        1..12,
    )
}

fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length)
        .map(|i| seed.wrapping_add(u8::try_from(i % 251).unwrap()))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_byte_stays_behind_while_the_peer_is_silent(
        frames in frames(),
        pipe in prop_oneof![1..64_usize, 1000..200_000_usize],
    ) {
        let (near, mut far) = duplex(pipe);
        let sent = frames.concat();
        let got = run(async {
            let mut io = CoalescingIo::new(near);
            let owner = async {
                write_frames(&mut io, &frames).await;
                // From here on the owner only waits for the peer, which says nothing.
                io.read(&mut [0]).await
            };
            let mut got = vec![0; sent.len()];
            tokio::select! {
                biased;
                read = far.read_exact(&mut got) => { read.unwrap(); }
                _ = owner => {}
            }
            got
        });
        prop_assert!(got == sent);
    }

    #[test]
    fn what_comes_is_read_in_order_whatever_the_size_of_the_reads(
        frames in frames(),
        size in 1..100_000_usize,
    ) {
        let (near, mut far) = duplex(1 << 16);
        let sent = frames.concat();
        let got = run(async {
            let mut io = CoalescingIo::new(near);
            let mut got = Vec::new();
            let reader = async {
                let mut part = vec![0; size];
                loop {
                    match io.read(&mut part).await.unwrap() {
                        0 => return,
                        came => got.extend_from_slice(&part[..came]),
                    }
                }
            };
            let writer = async move {
                for frame in &frames {
                    far.write_all(frame).await.unwrap();
                }
            };
            tokio::join!(reader, writer);
            got
        });
        prop_assert!(got == sent);
    }

    #[test]
    fn two_ends_that_take_turns_never_wait_for_each_other(frames in frames()) {
        let (near, far) = duplex(4096);
        run(async {
            let mut near = CoalescingIo::new(near);
            let mut far = CoalescingIo::new(far);
            let calls = async {
                for frame in &frames {
                    write_frames(&mut near, std::slice::from_ref(frame)).await;
                    let mut answer = vec![0; frame.len()];
                    near.read_exact(&mut answer).await.unwrap();
                    assert!(answer == *frame);
                }
            };
            let answers = async {
                for frame in &frames {
                    let mut call = vec![0; frame.len()];
                    far.read_exact(&mut call).await.unwrap();
                    write_frames(&mut far, &[call]).await;
                }
                // An HTTP/2 connection goes on reading.
                far.read(&mut [0]).await
            };
            tokio::select! { () = calls => {}, _ = answers => {} }
        });
    }
}

#[test]
fn frames_of_one_turn_leave_in_one_write() {
    run(async {
        let (near, mut far) = duplex(1 << 20);
        let mut io = CoalescingIo::new(near);
        write_frames(&mut io, &[vec![1; 400]]).await;
        let mut nothing = [0; 400];
        tokio::select! {
            biased;
            _ = far.read(&mut nothing) => panic!("the first flush only promises"),
            () = std::future::ready(()) => {}
        }
        io.shutdown().await.unwrap();
        assert_eq!(far.read(&mut nothing).await.unwrap(), 400);
    });
}

#[test]
fn a_shutdown_writes_out_what_is_held() {
    run(async {
        let (near, mut far) = duplex(10);
        let mut io = CoalescingIo::new(near);
        io.write_all(&[7; 100]).await.unwrap();
        let mut got = Vec::new();
        let (ended, read) = tokio::join!(io.shutdown(), far.read_to_end(&mut got));
        ended.unwrap();
        read.unwrap();
        assert_eq!(got, [7; 100]);
    });
}

#[test]
fn a_write_to_a_peer_that_is_gone_ends_the_read() {
    run(async {
        let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        io::Write::write_all(&mut far, b"last words").unwrap();
        drop(far);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        std::thread::spawn(move || {
            runtime.block_on(async {
                let mut io = CoalescingIo::new(tokio::net::UnixStream::from_std(near).unwrap());
                io.write_all(b"too late").await.unwrap();
                let mut said = Vec::new();
                io.read_to_end(&mut said).await.unwrap();
                assert_eq!(said, b"last words");
                io.shutdown().await.unwrap_err();
            });
        })
        .join()
        .unwrap();
    });
}

#[test]
fn a_preface_is_expected_and_left_to_be_read() {
    run(async {
        let (near, mut far) = duplex(1000);
        let mut io = CoalescingIo::new(near);
        let (first, second) = PREFACE.split_at(7);
        far.write_all(first).await.unwrap();
        let (expected, ()) = tokio::join!(io.expect_preface(), async {
            far.write_all(second).await.unwrap();
            far.write_all(b"more").await.unwrap();
        });
        expected.unwrap();
        let mut all = vec![0; PREFACE.len() + 4];
        io.read_exact(&mut all).await.unwrap();
        assert_eq!(all, [PREFACE, b"more"].concat());
    });
}

#[test]
fn what_is_no_preface_is_refused_at_its_first_wrong_byte() {
    run(async {
        for (said, kind) in [
            (&b"GET"[..], io::ErrorKind::InvalidData),
            (b"PRI * HTTP/3", io::ErrorKind::InvalidData),
            (b"PRI * HTTP/2.0", io::ErrorKind::UnexpectedEof),
            (b"", io::ErrorKind::UnexpectedEof),
        ] {
            let (near, mut far) = duplex(1000);
            far.write_all(said).await.unwrap();
            drop(far);
            assert_eq!(
                CoalescingIo::new(near)
                    .expect_preface()
                    .await
                    .unwrap_err()
                    .kind(),
                kind
            );
        }
    });
}

#[test]
fn a_headers_frame_is_noticed_wherever_the_reads_cut_it() {
    let mut bytes = PREFACE.to_vec();
    // SETTINGS with one value, WINDOW_UPDATE: what every client sends, and no question.
    bytes.extend([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100]);
    bytes.extend([0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 1, 0, 0]);
    let quiet = bytes.len();
    bytes.extend([0, 0, 1, 1, 4, 0, 0, 0, 1, 0x82]);
    for size in [1, 2, 7, 9, 1000] {
        let seen = Arc::new(AtomicBool::new(false));
        let mut asked = Asked {
            skip: PREFACE.len(),
            head: Vec::new(),
            seen: seen.clone(),
        };
        assert!(!bytes[..quiet].chunks(size).any(|part| asked.feed(part)));
        assert!(!seen.load(Relaxed));
        assert!(bytes[quiet..].chunks(size).any(|part| asked.feed(part)));
        assert!(seen.load(Relaxed), "{size}");
    }
}
