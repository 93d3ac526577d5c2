//! The timeline of real profiles, and of hostile ones.

use xscope_trace::read::read_bytes;
use xscope_trace::{Picos, read_paths};
use xscope_view::timeline::{Direction, ItemKind, Timeline, WindowQuery};

use xscope_testing::fixture;

fn whole(timeline: &Timeline, pixels: u32) -> WindowQuery {
    let (from, to) = timeline.extent();
    let items = u32::try_from(timeline.items().len()).unwrap();
    let one = std::iter::once(0..items);
    WindowQuery { from, to: to + Picos(1), pixels, items: one.collect() }
}

/// The number of slices in all boxes of an answer.
fn counted(answer: &[u8]) -> u64 {
    let number = |at: usize| u32::from_le_bytes(answer[at..at + 4].try_into().unwrap());
    let boxes = number(0) as usize;
    (0..boxes).map(|index| u64::from(number(16 + boxes * 24 + index * 4))).sum()
}

#[test]
fn every_slice_is_in_a_box_at_every_zoom() {
    for name in ["tpu_v6e", "gpu_amd", "jax_cpu", "kineto/excerpt.json.gz", "run"] {
        let timeline = Timeline::new(read_paths(&[fixture(name)]).unwrap());
        let mut all = timeline.trace().slice_count() as u64;
        let (from, to) = timeline.extent();
        // Requests are shown beside the threads that they ran on.
        let stats = timeline.stats(from, to + Picos(1), &[]);
        assert!(stats.slices >= all, "{name}");
        all = stats.slices;
        for pixels in [1, 100, 16_384] {
            assert_eq!(counted(&timeline.window(&whole(&timeline, pixels))), all, "{name}");
        }
    }
}

#[test]
fn a_request_leads_through_its_batch_to_what_devices_ran() {
    let timeline = Timeline::new(read_paths(&[fixture("run")]).unwrap());
    let found = timeline.search("request", None, Direction::Next);
    assert!(found.total > 0);
    let slices: Vec<_> = (0..4)
        .filter_map(|slice| timeline.slice_ref(1, slice))
        .filter_map(|slice| timeline.detail(slice))
        .collect();
    let devices: Vec<u32> = (0..)
        .zip(timeline.items())
        .filter(|(_, item)| match item.kind {
            ItemKind::Track(track) => {
                let tracks = &timeline.trace().tracks;
                tracks.get(track).is_some_and(|track| track.device.is_some())
            }
            _ => false,
        })
        .map(|(index, _)| index)
        .collect();
    let reached = |arrows: &[xscope_view::timeline::ArrowRow]| {
        arrows.iter().any(|arrow| devices.contains(&arrow.to.item))
    };
    assert!(slices.iter().any(|slice| reached(&slice.arrows)), "{slices:?}");
}

#[test]
fn a_range_adds_up_with_its_parts() {
    let timeline = Timeline::new(read_paths(&[fixture("jax_cpu")]).unwrap());
    let (from, to) = timeline.extent();
    let middle = Picos(from.0.midpoint(to.0));
    let own = |from, to| timeline.stats(from, to, &[]).self_us;
    let whole = own(from, to);
    let parts = own(from, middle) + own(middle, to);
    // Slices that overlap without nesting are cut into others.
    assert!((whole - parts).abs() <= whole * 0.01, "{whole} is not {parts}");
}

#[test]
fn names_of_a_megabyte_are_cut_on_the_wire() {
    let name = "x".repeat(1 << 20);
    let events = format!(
        r#"{{"traceEvents":[{{"ph":"X","name":"{name}","ts":1,"dur":2,"pid":1,"tid":1,
        "args":{{"k":"{name}"}}}}]}}"#
    );
    let timeline = Timeline::new(read_bytes("t.trace.json", events.into_bytes()).unwrap());
    let found = timeline.search("xxx", None, Direction::Next);
    let hit = found.hit.unwrap();
    assert!(found.total == 1 && hit.name.len() < 200);
    let slice = timeline.slice_ref(hit.item, hit.slice).unwrap();
    let detail = serde_json::to_vec(&timeline.detail(slice).unwrap()).unwrap();
    assert!(detail.len() < 64 << 10, "{}", detail.len());
}

#[test]
fn a_hundred_thousand_tracks_are_one_list() {
    let mut events = String::from("[");
    for tid in 0..100_000 {
        events += &format!(r#"{{"ph":"X","name":"<b>","ts":{tid},"dur":2,"pid":1,"tid":{tid}}},"#);
    }
    events += r#"{"ph":"X","name":"last","ts":1,"dur":1,"pid":1,"tid":1}]"#;
    let timeline = Timeline::new(read_bytes("t.trace.json", events.into_bytes()).unwrap());
    assert!(timeline.items().len() > 100_000);
    let answer = timeline.window(&whole(&timeline, 1000));
    assert!(answer.len() < 1 << 20, "an answer is bounded: {}", answer.len());
}
