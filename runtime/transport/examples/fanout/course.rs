//! What is measured, and the tables of it.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::{Outcome, flag, process::Pinned};

/// One measurement.
#[derive(Debug, Clone)]
struct Point {
    clients: u32,
    /// CPU seconds of the server in a second.
    load: f64,
    tester_load: f64,
    packets_per_s: f64,
    lost_pct: f64,
    join_ms: f64,
    idle_kb: f64,
    playing_kb: f64,
}

impl Point {
    fn viewers_per_core(&self) -> f64 {
        f64::from(self.clients) / self.load
    }

    fn packets_per_cpu_s(&self) -> f64 {
        self.packets_per_s / self.load
    }
}

pub(crate) fn run() -> Outcome {
    if let Some(list) = flag("--cores") {
        return scaling(&list);
    }
    let quick = std::env::args().any(|word| word == "--quick");
    let only = flag("--kbps").map(|text| text.parse()).transpose()?;
    let mut figures = Vec::new();
    println!(
        "{:>5} {:>4} {:>7} {:>6} {:>6} {:>8} {:>9} {:>6} {:>9} {:>6} {:>7} {:>7} {:>8}",
        "kbps",
        "srtp",
        "viewers",
        "load",
        "tester",
        "pkt/s",
        "pkt/cpu-s",
        "lost%",
        "bare/cpu-s",
        "ratio",
        "per core",
        "idle kB",
        "playing kB"
    );
    for kbps in [600u32, 1400] {
        if only.is_some_and(|only: u32| only != kbps) {
            continue;
        }
        for profile in ["gcm", "cm"] {
            let first = flag("--clients").map_or(Ok(200), |text| text.parse())?;
            let point = measure(kbps, profile, first)?;
            let floor = bare(kbps, profile, first)?;
            figures.push(show(kbps, profile, &point, Some(floor)));
            // One cipher is enough to see where a core is full.
            if quick || profile != "gcm" {
                continue;
            }
            // Up to what a core should carry by that, and on until it does not.
            let mut clients = (point.viewers_per_core() * 0.7) as u32;
            let mut step = clients / 7;
            for _ in 0..STEPS_MAX {
                let more = measure(kbps, profile, clients)?;
                figures.push(show(kbps, profile, &more, None));
                if more.lost_pct > LOST_MAX_PCT || more.load > FULL {
                    if step < clients / 20 {
                        break;
                    }
                    step /= 2;
                    clients -= step;
                } else {
                    clients += step;
                }
            }
        }
    }
    if let Some(path) = flag("--json") {
        std::fs::write(path, format!("[\n{}\n]\n", figures.join(",\n")))?;
    }
    Ok(())
}

/// The same viewers for each core on more and more cores, the tester on all the others.
fn scaling(list: &str) -> Outcome {
    let kbps = flag("--kbps").map_or(Ok(600), |text| text.parse())?;
    let each: u32 = flag("--clients").map_or(Ok(1500), |text| text.parse())?;
    let all = std::thread::available_parallelism()?.get();
    println!(
        "{:>5} {:>7} {:>6} {:>6} {:>8} {:>9} {:>6} {:>8} {:>7}",
        "cores", "viewers", "load", "tester", "pkt/s", "pkt/cpu-s", "lost%", "per core", "scaling"
    );
    let mut figures = Vec::new();
    let mut first = None;
    for cores in list.split(',') {
        let cores: usize = cores.parse()?;
        if cores == 0 || cores >= all {
            return Err(format!("{cores} of {all} cores leave none for the tester").into());
        }
        let places = (format!("0-{}", cores - 1), format!("{cores}-{}", all - 1));
        let clients = each * u32::try_from(cores)?;
        let point = measure_on((&places.0, &places.1), kbps, "gcm", clients)?;
        let first = *first.get_or_insert(point.packets_per_cpu_s());
        println!(
            "{cores:>5} {clients:>7} {:>6.3} {:>6.3} {:>8.0} {:>9.0} {:>6.2} {:>8.0} {:>7.2}",
            point.load,
            point.tester_load,
            point.packets_per_s,
            point.packets_per_cpu_s(),
            point.lost_pct,
            point.viewers_per_core(),
            point.packets_per_cpu_s() / first,
        );
        figures.push(format!(
            "{{\"cores\":{cores},\"kbps\":{kbps},\"clients\":{clients},\"load\":{},\"tester_load\":{},\"packets_per_s\":{},\
             \"packets_per_cpu_s\":{},\"lost_pct\":{},\"join_ms\":{}}}",
            point.load,
            point.tester_load,
            point.packets_per_s,
            point.packets_per_cpu_s(),
            point.lost_pct,
            point.join_ms,
        ));
    }
    if let Some(path) = flag("--json") {
        std::fs::write(path, format!("[\n{}\n]\n", figures.join(",\n")))?;
    }
    Ok(())
}

fn show(kbps: u32, profile: &str, point: &Point, floor: Option<f64>) -> String {
    let ratio = floor.map(|floor| point.packets_per_cpu_s() / floor);
    let or_nothing = |figure: Option<f64>, digits: usize| {
        figure.map_or_else(String::new, |figure| format!("{figure:.digits$}"))
    };
    println!(
        "{kbps:>5} {profile:>4} {:>7} {:>6.3} {:>6.3} {:>8.0} {:>9.0} {:>6.2} {:>9} {:>6} {:>8.0} {:>7.0} {:>8.0}",
        point.clients,
        point.load,
        point.tester_load,
        point.packets_per_s,
        point.packets_per_cpu_s(),
        point.lost_pct,
        or_nothing(floor, 0),
        or_nothing(ratio, 2),
        point.viewers_per_core(),
        point.idle_kb,
        point.playing_kb,
    );
    let or_null = |figure: Option<f64>| figure.map_or_else(|| "null".to_owned(), |f| f.to_string());
    format!(
        "{{\"kbps\":{kbps},\"srtp\":\"{profile}\",\"clients\":{},\"load\":{},\"tester_load\":{},\"packets_per_s\":{},\
         \"packets_per_cpu_s\":{},\"lost_pct\":{},\"bare_packets_per_cpu_s\":{},\"ratio\":{},\"viewers_per_core\":{},\
         \"join_ms\":{},\"idle_kb\":{},\"playing_kb\":{}}}",
        point.clients,
        point.load,
        point.tester_load,
        point.packets_per_s,
        point.packets_per_cpu_s(),
        point.lost_pct,
        or_null(floor),
        or_null(ratio),
        point.viewers_per_core(),
        point.join_ms,
        point.idle_kb,
        point.playing_kb,
    )
}

fn measure(kbps: u32, profile: &str, clients: u32) -> Outcome<Point> {
    measure_on(("0", "1"), kbps, profile, clients)
}

/// The server on the first of these cores, all viewers on the second.
fn measure_on(on: (&str, &str), kbps: u32, profile: &str, clients: u32) -> Outcome<Point> {
    let words = |words: &[&str]| {
        words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    let mut server = Pinned::start(on.0, &words(&["serve", "--kbps", &kbps.to_string()]))?;
    let ready = server.line()?;
    let control = ready.get(1).ok_or("the server says no address")?;
    let empty_kb = server.rss_kb()?;
    let arguments = words(&[
        "watch",
        "--server",
        control,
        "--profile",
        profile,
        "--clients",
        &clients.to_string(),
    ]);
    let begun = Instant::now();
    let mut tester = Pinned::start(on.1, &arguments)?;
    tester.line()?;
    let join_ms = begun.elapsed().as_secs_f64() * 1000.0 / f64::from(clients);
    let per_viewer = |kb: f64| (kb - empty_kb) / f64::from(clients);
    let mut orders = BufReader::new(TcpStream::connect(control.as_str())?);
    let mut ask = |order: &str| -> Outcome<Vec<u64>> {
        writeln!(orders.get_mut(), "{order}")?;
        let mut line = String::new();
        orders.read_line(&mut line)?;
        Ok(line
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?)
    };
    std::thread::sleep(Duration::from_millis(500));
    let idle_kb = per_viewer(server.rss_kb()?);
    ask("PLAY")?;
    std::thread::sleep(WARM);
    let mut seen = || -> Outcome<(f64, f64)> {
        tester.tell("SEEN")?;
        let line = tester.line()?;
        let number = |at: usize| -> Outcome<f64> { Ok(line.get(at).ok_or("short")?.parse()?) };
        Ok((number(1)?, number(2)?))
    };
    let before = (seen()?, ask("SKIPPED")?);
    let (cpu, since) = (server.cpu_s()?, Instant::now());
    std::thread::sleep(MEASURED);
    let after = (seen()?, ask("SKIPPED")?);
    let seconds = since.elapsed().as_secs_f64();
    let load = (server.cpu_s()? - cpu) / seconds;
    let playing_kb = per_viewer(server.rss_kb()?);
    let expected = after.0.0 - before.0.0;
    let received = after.0.1 - before.0.1;
    // Units that were not even sent count as one packet each, which is the least they are.
    let skipped: u64 = after.1.iter().sum::<u64>() - before.1.iter().sum::<u64>();
    let tester_load = tester.cpu_s()? / begun.elapsed().as_secs_f64();
    Ok(Point {
        clients,
        load,
        tester_load,
        packets_per_s: received / seconds,
        lost_pct: 100.0 * (expected - received + skipped as f64) / expected.max(1.0),
        join_ms,
        idle_kb,
        playing_kb,
    })
}

/// Packets in a CPU second of the bare loop, at the same number of viewers.
fn bare(kbps: u32, profile: &str, clients: u32) -> Outcome<f64> {
    let words = |words: &[&str]| {
        words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    let mut sink = Pinned::start("1", &words(&["sink"]))?;
    let ports = sink.line()?;
    let ports = ports.get(1).ok_or("the sink says no ports")?;
    let mut source = Pinned::start(
        "0",
        &words(&[
            "bare",
            "--kbps",
            &kbps.to_string(),
            "--profile",
            profile,
            "--clients",
            &clients.to_string(),
            "--ports",
            ports,
        ]),
    )?;
    let line = source.line()?;
    let packets: f64 = line.get(1).ok_or("the bare loop says nothing")?.parse()?;
    let per_s = packets / source.cpu_s()?;
    source.tell("")?;
    Ok(per_s)
}

const WARM: Duration = Duration::from_secs(3);
const MEASURED: Duration = Duration::from_secs(6);
const LOST_MAX_PCT: f64 = 0.1;
/// A core that is busy for this share of the time is full.
const FULL: f64 = 0.97;
const STEPS_MAX: usize = 6;
