//! Commands that ask the running node.

use std::io::Read;
use std::path::Path;

use anyhow::Context;
use bytes::Bytes;
use valise_proto::id::NoticeId;

use super::client::ask;
use super::waiting::{self, Waiting};
use super::{Common, EXIT_ATTENTION, EXIT_FAILED, EXIT_MISTAKES, Ended, Outcome, Wait, render};
use crate::api::BODY_BYTES_MAX;
use crate::api::types::Until;
use crate::folder;

/// Reads a notice from a file or, for `-`, from standard input.
pub(super) fn notice(file: &Path) -> Result<Bytes, Ended> {
    let bytes = if file == Path::new("-") {
        let mut bytes = Vec::new();
        let room = u64::try_from(BODY_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
        std::io::stdin().lock().take(room).read_to_end(&mut bytes).context("standard input")?;
        if bytes.len() > BODY_BYTES_MAX {
            let error =
                anyhow::anyhow!("standard input has more than the {BODY_BYTES_MAX} bytes a notice may have");
            return Err(Ended::Mistakes(error));
        }
        bytes
    } else {
        folder::read(file, BODY_BYTES_MAX).map_err(|error| Ended::Mistakes(error.into()))?
    };
    Ok(bytes.into())
}

pub(super) fn preview(common: &Common, file: &Path) -> Outcome {
    let json = notice(file)?;
    let preview = ask(common, |node| async move { node.preview(json).await })?;
    if common.json {
        render::json(&preview)?;
    } else {
        tell!("{}", render::preview(&preview))?;
    }
    if preview.mistakes.is_empty() { Ok(()) } else { Err(Ended::Told(EXIT_MISTAKES)) }
}

pub(super) fn notice_preview(common: &Common, id: &NoticeId) -> Outcome {
    let preview = ask(common, |node| async move { node.notice_preview(id).await })?;
    if common.json { render::json(&preview) } else { tell!("{}", render::preview(&preview)) }
}

pub(super) fn send(common: &Common, file: &Path, wait: Option<Wait>, timeout: u64) -> Outcome {
    let json = notice(file)?;
    let queued = ask(common, |node| async move { node.send(json).await })?;
    let Some(wait) = wait else {
        if common.json {
            return render::json(&queued);
        }
        tell!("{}", render::queued(&queued))?;
        return Ok(());
    };
    if !common.json {
        tell!("{}", render::queued(&queued))?;
    }
    let until = Until::from(wait);
    if queued.pending_until.is_some() && common.json {
        render::json(&queued)?;
    }
    waiting::check_sent(&queued, until)?;
    let id = queued.notice_id;
    let status =
        ask(common, |node| async move { node.notice_status_after(&id, wait.into(), timeout).await })?;
    if common.json {
        render::json(&status)?;
    } else {
        tell!("{}", render::notice_status(&status))?;
    }
    if status.state == "QUEUED"
        && let Some(excluded) = ask(common, |node| async move { node.status().await })?.excluded
    {
        let (code, advice, wait) = (excluded.code, excluded.advice, waiting::go_on(&id.to_string(), until));
        return Err(waiting::not_yet(&format!(
            "no broker takes the notice: this agency is {code}; it stays queued until that ends. {advice} To wait on: {wait}"
        )));
    }
    Waiting { until, seconds: timeout }.check(&status)?;
    // What a broker refused, or took from nobody in time, will not come any more.
    if status.state == "ACCEPTED" { Ok(()) } else { Err(Ended::Told(EXIT_FAILED)) }
}

pub(super) fn show(common: &Common, id: &NoticeId) -> Outcome {
    let notice = ask(common, |node| async move { node.notice(id).await })?;
    if common.json {
        return render::json(&notice);
    }
    tell!("{}", render::notice(&notice))?;
    Ok(())
}

pub(super) fn read(
    common: &Common,
    id: &NoticeId,
    officer: Option<String>,
    reason: Option<String>,
) -> Outcome {
    let officer = officer.unwrap_or_default();
    let opened = ask(common, |node| async move { node.read_because(id, &officer, reason).await })?;
    if common.json {
        return render::json(&opened);
    }
    tell!("{}", render::opened(&opened))?;
    Ok(())
}

pub(super) fn status(common: &Common, limit: Option<u16>) -> Outcome {
    let status = ask(common, |node| async move { node.status_listing(limit).await })?;
    if common.json {
        render::json(&status)?;
    } else {
        tell!("{}", render::node_status(&status))?;
    }
    if status.excluded.is_some() { Err(Ended::Told(EXIT_ATTENTION)) } else { Ok(()) }
}

pub(super) fn notice_status(common: &Common, id: &NoticeId) -> Outcome {
    let status = ask(common, |node| async move { node.notice_status(id).await })?;
    if common.json {
        return render::json(&status);
    }
    tell!("{}", render::notice_status(&status))?;
    Ok(())
}

pub(super) fn directory(common: &Common) -> Outcome {
    let directory = ask(common, |node| async move { node.directory().await })?;
    if common.json {
        return render::json(&directory);
    }
    tell!("{}", render::directory(&directory))?;
    Ok(())
}
