//! What a started server says: where to look, where to publish, and a token.

use std::{
    io::{self, Write as _},
    net::{IpAddr, SocketAddr},
    path::Path,
};

use lockgate_media::BroadcastName;

use crate::ingest::Addresses;

pub(crate) struct Announcement<'a> {
    pub(crate) http: SocketAddr,
    /// Whether HTTP is HTTPS.
    pub(crate) secure: bool,
    /// Where media is exchanged, the first before all.
    pub(crate) udp: &'a [SocketAddr],
    pub(crate) tcp: &'a [SocketAddr],
    pub(crate) ingest: Addresses,
    pub(crate) token: &'a str,
    pub(crate) broadcasts: &'a [BroadcastName],
}

impl Announcement<'_> {
    /// For a person, on standard output.
    pub(crate) fn print(&self) -> io::Result<()> {
        let base = self.base_url();
        let mut out = io::stdout().lock();
        writeln!(out, "Lockgate is ready: {base}/ ({})", self.media())?;
        for name in self.broadcasts {
            writeln!(out, "\n  broadcast {name}")?;
            writeln!(out, "    watch     {base}/watch/{name}")?;
            writeln!(out, "    WHEP      {base}/whep/{name}")?;
            writeln!(out, "    HLS       {base}/hls/{name}/playlist.m3u8")?;
        }
        writeln!(
            out,
            "\n  publish your own (OBS: Service WHIP; browser: {base}/studio)"
        )?;
        writeln!(out, "    WHIP      {base}/whip/live")?;
        if let Some(rtmp) = self.ingest.rtmp {
            let base = url("rtmp", rtmp);
            writeln!(out, "    RTMP      {base}/live   key: live?token=TOKEN")?;
        }
        if let Some(srt) = self.ingest.srt {
            let base = url("srt", srt);
            writeln!(
                out,
                "    SRT       {base}   streamid: publish:live?token=TOKEN"
            )?;
        }
        writeln!(out, "    token     {}", self.token)?;
        writeln!(out, "    watch     {base}/watch/live")?;
        writeln!(out, "    HLS       {base}/hls/live/playlist.m3u8\n")?;
        out.flush()
    }

    fn media(&self) -> String {
        let list = |addresses: &[SocketAddr]| {
            let all: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
            all.join(" and ")
        };
        let udp = list(self.udp);
        match self.tcp {
            [] => format!("media over UDP {udp}"),
            tcp if tcp == self.udp => format!("media over UDP and TCP {udp}"),
            tcp => format!("media over UDP {udp}, TCP {}", list(tcp)),
        }
    }

    /// For a program: the file named by `LOCKGATE_READY_FILE` appears whole once the server is ready.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let ready = serde_json::json!({
            "http": self.base_url(),
            "udp": self.udp.first().map(SocketAddr::to_string),
            "tcp": self.tcp.first().map(SocketAddr::to_string),
            "rtmp": self.ingest.rtmp.map(|address| url("rtmp", address)),
            "srt": self.ingest.srt.map(|address| url("srt", address)),
            "token": self.token,
            "pid": std::process::id(),
        });
        let draft = path.with_extension("new");
        std::fs::write(&draft, ready.to_string())?;
        std::fs::rename(&draft, path)
    }

    /// A URL that works on this machine.
    fn base_url(&self) -> String {
        url(if self.secure { "https" } else { "http" }, self.http)
    }
}

/// A URL that works on this machine: an unspecified address is reached by its loopback name.
fn url(scheme: &str, listen: SocketAddr) -> String {
    match listen.ip() {
        ip if ip.is_unspecified() => format!("{scheme}://localhost:{}", listen.port()),
        IpAddr::V4(ip) => format!("{scheme}://{ip}:{}", listen.port()),
        IpAddr::V6(ip) => format!("{scheme}://[{ip}]:{}", listen.port()),
    }
}
