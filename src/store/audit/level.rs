//! Which level the rules give an entry: of its user, else of the network it is about. Only receivers are thinned by it.
//!
//! An entry without a rule's number (a connection that opened, a passcode) is about the narrowest network of its service and host that
//! its source lies in, whatever the hours: the levels of rules for some hours only hold where the decision named the rule. Where two
//! rules could be meant, the one that passes more on counts. No entry is lost to a rule that cannot be read: it has no level then.

use policy::Logging;
use policy::rule::Block;
use rusqlite::{Connection, OptionalExtension, params};

use super::Error;
use crate::audit::{Entry, level::is_security};

/// The level of `entry`, where the rules have one for it.
pub(super) fn of(connection: &Connection, entry: &Entry) -> Result<Option<Logging>, Error> {
    // What nobody can switch off needs none.
    if is_security(entry) {
        return Ok(None);
    }
    let parse = |text: Option<String>| text.and_then(|text| text.parse().ok());
    if let Some(user) = &entry.user {
        let level: Option<Option<String>> = connection
            .prepare_cached("SELECT logging FROM users WHERE name = ?1")?
            .query_row([user], |row| row.get(0))
            .optional()?;
        if let Some(level) = parse(level.flatten()) {
            return Ok(Some(level));
        }
    }
    if let Some(rule) = entry.rule {
        let level: Option<Option<String>> = connection
            .prepare_cached("SELECT logging FROM networks WHERE id = ?1")?
            .query_row([rule], |row| row.get(0))
            .optional()?;
        return Ok(parse(level.flatten()));
    }
    let (Some(source), Some(service)) = (entry.source, entry.service) else { return Ok(None) };
    let is_any: bool = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM networks WHERE logging IS NOT NULL)")?
        .query_row([], |row| row.get(0))?;
    if !is_any {
        return Ok(None);
    }
    let mut statement = connection.prepare_cached(
        "SELECT block, host, logging FROM networks
         WHERE service = ?1 AND (host = '' OR host = ?2 COLLATE NOCASE) AND days = '' AND hours = ''",
    )?;
    let rows = statement.query_map(params![service.as_str(), entry.host.as_deref().unwrap_or_default()], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, Option<String>>(2)?))
    })?;
    let mut narrowest: Option<((u128, bool), Option<Logging>)> = None;
    for row in rows {
        let (block, host, level) = row?;
        let Some(block) = block.parse::<Block>().ok().filter(|block| block.contains(source)) else { continue };
        let key = (block.span(), host.is_empty());
        let level: Option<Logging> = parse(level);
        narrowest = match narrowest {
            Some((known, kept)) if known < key => Some((known, kept)),
            // No level passes as much on as the highest.
            Some((known, kept)) if known == key => {
                Some((key, if kept.is_none() || level.is_none() { None } else { kept.max(level) }))
            }
            Some(_) | None => Some((key, level)),
        };
    }
    Ok(narrowest.and_then(|(_, level)| level))
}
