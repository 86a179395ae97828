//! The worker process: one socket to the parent, one thread that reads it, one that runs the media, one for each
//! encoder; the main thread writes.

use std::{
    io::{self, Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    process::ExitCode,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    time::{Duration, Instant},
};

use lockgate_ports::transcoder::Input;

use crate::{
    demo, file,
    guard::walls,
    meter::Meter,
    open::Place,
    out::{Message, Out},
    peer,
    pipeline::{Desk, Inbound, Pipeline, Switchboard, WorkError},
    stream::Pipe,
    wire::{self, Frame, Frames, SOURCE, Start, ToParent, ToWorker},
};

/// Runs the worker on the socket that is this process's standard input, until the work is done or the parent is gone.
///
/// Ends the whole process as soon as the socket closes, whatever its threads are doing: nothing outlives the parent.
pub fn run() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("the worker cannot talk to its parent: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<()> {
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut writer = socket.try_clone()?;
    let mut frames = Frames::default();
    let Some(start) = first(&mut socket, &mut frames)? else {
        return Ok(());
    };
    let walls = walls::put_up(
        &start.input,
        &start.settings,
        io::stdout().as_fd(),
        &mut |text| complain(&text),
    );
    let (out, messages) = Out::new();
    let switchboard = Arc::new(Switchboard::default());
    let (to_media, inbound) = sync_channel(INBOUND_LEN);
    let stream = Pipe::default();
    let desk = Desk {
        inbound,
        stream: stream.clone(),
        switchboard: Arc::clone(&switchboard),
        out: out.clone(),
    };
    spawn("media", move || match walls {
        Ok(()) => media(&desk, &start),
        Err(text) => desk.out.fail(text, true),
    })?;
    let at_reader = Arc::clone(&switchboard);
    let complaints = out.clone();
    spawn("read", move || {
        let media = (&to_media, &stream);
        if let Err(error) = read(socket, frames, &at_reader, media, &complaints) {
            complain(&format!("the parent cannot be understood: {error}"));
        }
        end_process();
    })?;
    write(&mut writer, &messages, &out, &switchboard)
}

/// Waits for the message that says what to open; `None` if the parent is gone before.
fn first(socket: &mut UnixStream, frames: &mut Frames) -> io::Result<Option<Start>> {
    let mut chunk = vec![0; CHUNK_LEN];
    loop {
        match frames.next::<ToWorker>().map_err(io::Error::other)? {
            Some(Frame::Control(ToWorker::Start(start))) => return Ok(Some(start)),
            Some(_) => {
                return Err(io::Error::other(
                    "the first message does not say what to open",
                ));
            }
            None => {}
        }
        match socket.read(&mut chunk)? {
            0 => return Ok(None),
            len => frames
                .buffer
                .extend_from_slice(chunk.get(..len).unwrap_or_default()),
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map(drop)
}

#[expect(
    clippy::exit,
    reason = "a thread inside FFmpeg cannot be asked to stop, and no worker outlives its parent"
)]
fn end_process() -> ! {
    std::process::exit(0)
}

/// The media thread.
fn media(desk: &Desk, start: &Start) {
    ffmpeg_next::log::set_level(ffmpeg_next::log::Level::Error);
    match drive(desk, start, None) {
        Ok(()) => desk.out.end(),
        Err(WorkError::Alone) => {}
        Err(WorkError::Changed(text)) => desk.out.replan(text),
        Err(error) => desk.out.fail(error.to_string(), error.is_hopeless()),
    }
}

/// Runs a source to its end. `frames_max` bounds the demo where its cost is measured.
pub(crate) fn drive(desk: &Desk, start: &Start, frames_max: Option<u64>) -> Result<(), WorkError> {
    match &start.input {
        Input::Demo { width, height, fps } => {
            let size = (*width & !1, *height & !1, *fps);
            let source = demo::source(size)?;
            let work = desk.ask_for_plan(source.clone(), drop)?;
            let mut pipeline = Pipeline::start(desk, &work, start, &source, true)?;
            let clock = (work.start_pts_90k, work.zero_unix_us);
            demo::run(&mut pipeline, size, clock, start.paced, frames_max);
            pipeline.finish();
            Ok(())
        }
        Input::Url { url, looped } => file::run(desk, start, &Place::Url(url), *looped),
        Input::Peer => peer::run(desk, start),
        Input::Stream => {
            let container = start.container.as_deref().unwrap_or_default();
            file::run(desk, start, &Place::Stream(&desk.stream, container), false)
        }
    }
}

/// Reads the socket until it closes.
fn read(
    mut socket: UnixStream,
    mut frames: Frames,
    switchboard: &Switchboard,
    (to_media, stream): (&SyncSender<Inbound>, &Pipe),
    out: &Out,
) -> Result<(), wire::WireError> {
    let mut chunk = vec![0; CHUNK_LEN];
    let mut has_lost = false;
    loop {
        while let Some(frame) = frames.next::<ToWorker>()? {
            match frame {
                Frame::Bytes(piece) => stream.push(piece),
                Frame::Control(ToWorker::StreamEnd) => stream.end(),
                Frame::Control(message) => {
                    switchboard.apply(&message);
                    // Never full of these: there are a handful in a worker's life, and units leave room for them.
                    if !matches!(
                        message,
                        ToWorker::Enable { .. } | ToWorker::Shed { .. } | ToWorker::Keyframe { .. }
                    ) {
                        to_media.send(Inbound::Control(message)).ok();
                    }
                }
                Frame::Unit(unit) => {
                    // A decoder that is too slow loses whole stretches of video from here to a keyframe, so that
                    // neither memory nor delay grows, and the end of the socket is always seen.
                    if has_lost && unit.track == SOURCE {
                        if !unit.keyframe || to_media.try_send(Inbound::Lost).is_err() {
                            continue;
                        }
                        has_lost = false;
                    }
                    let is_video = unit.track == SOURCE;
                    if let Err(TrySendError::Full(_)) = to_media.try_send(Inbound::Unit(unit))
                        && is_video
                    {
                        has_lost = true;
                        out.control(ToParent::NeedKeyframe);
                    }
                }
            }
        }
        match socket.read(&mut chunk) {
            Ok(0) | Err(_) => return Ok(()),
            Ok(len) => frames
                .buffer
                .extend_from_slice(chunk.get(..len).unwrap_or_default()),
        }
    }
}

/// Writes what the threads send, and a report each second.
fn write(
    socket: &mut UnixStream,
    messages: &Receiver<Message>,
    out: &Out,
    switchboard: &Switchboard,
) -> io::Result<()> {
    let mut meter = Meter::new(out, switchboard);
    let mut next_report = Instant::now() + REPORT_EVERY;
    loop {
        let now = Instant::now();
        if now >= next_report {
            next_report = now + REPORT_EVERY;
            let stats = ToParent::Stats(meter.read(now));
            send(socket, &wire::control(&stats))?;
        }
        match messages.recv_timeout(next_report.saturating_duration_since(now)) {
            Ok(Message::Control(message)) => send(socket, &wire::control(&message))?,
            Ok(Message::Unit(unit)) => send(socket, &wire::unit(&unit))?,
            Ok(Message::Last) | Err(RecvTimeoutError::Disconnected) => {
                let stats = ToParent::Stats(meter.read(Instant::now()));
                return send(socket, &wire::control(&stats));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

fn send(socket: &mut UnixStream, frame: &Result<bytes::Bytes, wire::WireError>) -> io::Result<()> {
    match frame {
        Ok(frame) => socket.write_all(frame),
        Err(error) => {
            complain(&error.to_string());
            Ok(())
        }
    }
}

/// A line for the parent's log.
fn complain(text: &str) {
    writeln!(io::stderr(), "{text}").ok();
}

/// Units of a peer that wait to be decoded: a second and a half of 60 frames and 50 packets of sound.
const INBOUND_LEN: usize = 160;
const CHUNK_LEN: usize = 64 << 10;
const REPORT_EVERY: Duration = Duration::from_secs(1);
