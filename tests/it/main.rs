//! The end-to-end tests: the real binary, real sockets, real media. One binary, so that it links once.
//!
//! - `demo`      the generated source: real time, ladder, HLS in both containers, aligned over all rungs
//! - `source`    files: looped, passed through, missing, broken
//! - `publish`   FFmpeg's WHIP muxer publishes; names are taken and given back
//! - `ingest`    RTMP and SRT, many publishers on one port each; bad keys and taken names
//! - `continuity` publishers that are cut and come back, and those that say goodbye; a server that is killed
//! - `sins`      what sources do wrong, one after the other, and that it plays nevertheless
//! - `pull`      sources that are fetched: HTTP, HLS, RTSP; that end, and come back
//! - `worker`    a worker that is killed
//! - `load`      a ladder that is too much for its machine, and one that nobody watches
//! - `record`    recordings: a crash, a full disk, the list
//! - `sessions` who published and watched: listed, paged, exported, imported, closed after a crash; the disk full
//! - `crash`     the server killed again and again, under load and while it starts: nothing acknowledged is lost
//! - `package`   `lockgate package` and `lockgate doctor`
//! - `policies`  scripts that decide: swapped by file and by API, broken, hostile, rolled back
//! - `author`    case files: held, failed, wrong
//! - `metrics`   what Prometheus collects: its grammar, who may read it, counters through a swap
//! - `monitoring` the dashboard for Grafana and the alert rules: every query asks for what a server says
//! - `bad_policies`  policy files that are wrong, not granted or badly configured
//! - `decisions` the decision log: followed, in files, asked again, the disk gone
//! - `rules`     the rules of WHIP, WHEP, HLS, ICE, DTLS and RTP, and that each has its test
//! - `whip_rules` · `whep_rules` · `ice_rules`  RFC 9725, the WHEP draft and ICE, one test for each rule
//! - `peer_rules`  what needs a whole peer: certificates, forged SRTP, consent, keyframe requests, retransmissions
//! - `network`   which addresses peers are told: both families, TCP, STUN
//! - `churn` · `flood`  peers that vanish half way, and datagrams of nobody: nothing is left, nobody is harmed
//! - `hls_rules`  RFC 8216 and rfc8216bis: reloads, hints, stalls, ends; all other rules by `lockgate check hls`
//! - `hls_serving`  tags, ranges, compression, slow readers, the long window
//! - `hls_wrong`  a stream with one thing wrong at a time, and that `lockgate check hls` finds and names each
//! - `dash`      the manifest, segments while they are filled, rungs that rest until they are fetched
//! - `turn`      names for TURN, taken by coturn
//! - `check`     `lockgate check` against our own server and one that is wrong
//! - `bench`     `lockgate bench`: viewers, publishers and players in numbers, through loss, interrupted, and refused
//! - `tutorial`  the page `sdk/README.md`, command by command
//! - `hostile`   a corpus of policies that mean ill, each played while somebody watches
//! - `door`      tokens, users, the operator's service, sessions that are ended, limits, HTTPS, slow clients
//! - `api`       the OpenAPI document, walked: who is let in where; reports of HLS players
//! - `bad_input` hostile names, bodies and headers for every route of the document
//! - `configuration`  places, origins, secrets, and changes while sessions go on
//! - `rooms`     people in rooms who send and are shown others: roles, seats, hosts, who speaks, what is muted, screens
//! - `ops`       going down, the service manager and its watchdog, the log, traces
//! - `refused`   bad offers, bad tokens, bad paths, bad configuration: each a clear word
//!
//! What a browser must see is in `tests/browser`.

mod api;
mod author;
mod bad_input;
mod bad_policies;
mod bench;
mod check;
mod churn;
mod configuration;
mod continuity;
mod crash;
mod dash;
mod decisions;
mod demo;
mod door;
mod flood;
mod hls_rules;
mod hls_serving;
mod hls_wrong;
mod hostile;
mod ice_rules;
mod ingest;
mod load;
mod metrics;
mod monitoring;
mod network;
mod ops;
mod package;
mod passthrough;
mod peer_rules;
mod policies;
mod publish;
mod pull;
mod record;
mod refused;
mod rooms;
mod rules;
mod sessions;
mod sins;
mod source;
mod support;
mod turn;
mod tutorial;
mod whep_rules;
mod whip_rules;
mod worker;
