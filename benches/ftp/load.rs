//! Load for an FTP server or what stands before it: logons and small files, as many as it takes in a time.
//!
//! ```text
//! ftp-load logons ADDRESS SECONDS CONNECTIONS      connect, USER, PASS, QUIT, again and again
//! ftp-load files ADDRESS SECONDS CONNECTIONS       one logon each, then EPSV and RETR small.bin, again and again
//! ```
//!
//! Prints how many there were in a second. `benches/ftp/run` runs it directly and through what it compares.
#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
#![expect(clippy::print_stdout, reason = "a measurement is printed")]

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

struct Client {
    lines: BufReader<TcpStream>,
    address: SocketAddr,
}

impl Client {
    fn log_on(address: SocketAddr) -> Fallible<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut client = Self { lines: BufReader::new(stream), address };
        client.expect("220")?;
        client.ask("USER anna", "331")?;
        client.ask("PASS garden", "230")?;
        Ok(client)
    }

    fn expect(&mut self, code: &str) -> Fallible<String> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line)? == 0 {
                return Err("closed by the other side".into());
            }
            if line.as_bytes().get(3) == Some(&b' ') {
                return if line.starts_with(code) { Ok(line) } else { Err(format!("{line:?}, not {code}").into()) };
            }
        }
    }

    fn ask(&mut self, command: &str, code: &str) -> Fallible<String> {
        self.lines.get_mut().write_all(format!("{command}\r\n").as_bytes())?;
        self.expect(code)
    }

    fn file(&mut self) -> Fallible<()> {
        let reply = self.ask("EPSV", "229")?;
        let port = reply.split('|').nth(3).ok_or("no port")?.parse()?;
        let mut data = TcpStream::connect(SocketAddr::new(self.address.ip(), port))?;
        self.ask("RETR small.bin", "150")?;
        let mut all = Vec::new();
        data.read_to_end(&mut all)?;
        if all.len() != 1024 {
            return Err(format!("{} bytes, not 1024", all.len()).into());
        }
        drop(data);
        self.expect("226")?;
        Ok(())
    }
}

fn logons(address: SocketAddr, until: Instant) -> Fallible<u32> {
    let mut count = 0;
    while Instant::now() < until {
        let mut client = Client::log_on(address)?;
        client.ask("QUIT", "221")?;
        count += 1;
    }
    Ok(count)
}

fn small_files(address: SocketAddr, until: Instant) -> Fallible<u32> {
    let mut client = Client::log_on(address)?;
    client.ask("TYPE I", "200")?;
    let mut count = 0;
    while Instant::now() < until {
        client.file()?;
        count += 1;
    }
    Ok(count)
}

fn main() -> Fallible<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, address, seconds, connections] = arguments.as_slice() else {
        return Err("ftp-load logons|files ADDRESS SECONDS CONNECTIONS".into());
    };
    let (address, seconds, connections): (SocketAddr, u64, u32) =
        (address.parse()?, seconds.parse()?, connections.parse()?);
    let work = match what.as_str() {
        "logons" => logons,
        "files" => small_files,
        _ => return Err("logons or files".into()),
    };
    // What is done once need not be measured.
    Client::log_on(address)?.ask("QUIT", "221")?;
    let begun = Instant::now();
    let until = begun + Duration::from_secs(seconds);
    let threads: Vec<_> = (0..connections).map(|_| std::thread::spawn(move || work(address, until))).collect();
    let mut count = 0;
    for thread in threads {
        count += thread.join().map_err(|_| "a thread failed")??;
    }
    println!("{:.0}", f64::from(count) / begun.elapsed().as_secs_f64());
    Ok(())
}
