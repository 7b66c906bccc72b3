//! Going through what was received, newest first, a bounded piece at a time.

use valise_proto::id::NoticeId;

use super::records::ReceivedRecord;
use super::{Inbox, Store, StoreError, keys};

/// A piece of the list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// What was looked for, newest first.
    pub found: Vec<T>,
    /// Where to go on, where there may be more.
    pub next: Option<NoticeId>,
}

/// What was made of one notice of the list.
#[derive(Clone, Debug)]
pub enum Look<T> {
    /// It is looked for.
    Found(T),
    /// It is not.
    Passed,
    /// Enough: the next page begins with this one.
    Enough,
}

impl Store {
    /// How many notices were received, and how many of them were shown. Goes through their keys.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn inbox_len(&self) -> Result<(usize, usize), StoreError> {
        let count = |kind: u8| -> Result<usize, StoreError> {
            let mut found = 0;
            for key in self.db.scan_prefix([kind]).keys() {
                found += usize::from(key?.len() == keys::OF_NOTICE_BYTES);
            }
            Ok(found)
        };
        Ok((count(keys::RECEIVED)?, count(keys::READ)?))
    }

    /// How many notices of ours there are, and how many things that were set aside; of each at most `count_max` are counted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sent_and_aside_len(&self, count_max: usize) -> Result<(usize, usize), StoreError> {
        let count = |kind: u8, key_len: usize| -> Result<usize, StoreError> {
            let mut found = 0;
            for key in self.db.scan_prefix([kind]).keys() {
                found += usize::from(key?.len() == key_len);
                if found >= count_max {
                    break;
                }
            }
            Ok(found)
        };
        Ok((count(keys::SENT, keys::OF_NOTICE_BYTES)?, count(keys::ASIDE, keys::OF_ASIDE_BYTES)?))
    }

    /// How many bytes the store takes on disk. Asks the file system about each of its files.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn size_on_disk(&self) -> Result<u64, StoreError> {
        Ok(self.db.size_on_disk()?)
    }

    /// What `look` makes of the notices received before this one, newest first: at most `count_max` of them.
    ///
    /// # Errors
    /// [`StoreError`], and what `look` says.
    pub fn inbox_page<T, E: From<StoreError>>(
        &self,
        before: Option<&NoticeId>,
        count_max: usize,
        mut look: impl FnMut(Inbox) -> Result<Look<T>, E>,
    ) -> Result<Page<T>, E> {
        let mut page = Page { found: Vec::new(), next: None };
        let mut last = None;
        let end = before.map_or_else(|| vec![keys::RECEIVED + 1], |id| keys::of_notice(keys::RECEIVED, id));
        for item in self.db.range(vec![keys::RECEIVED]..end).rev() {
            let (key, first) = item.map_err(StoreError::from)?;
            if key.len() != keys::OF_NOTICE_BYTES {
                continue;
            }
            if page.found.len() >= count_max {
                page.next = last;
                return Ok(page);
            }
            let record: ReceivedRecord = self.parse(&self.whole(&key, first.to_vec())?)?;
            let (notice_id, read) = (record.notice_id, self.read_record(&record.notice_id)?);
            match look(Inbox { record, read })? {
                Look::Found(found) => page.found.push(found),
                Look::Passed => {}
                Look::Enough => {
                    page.next = last;
                    return Ok(page);
                }
            }
            last = Some(notice_id);
        }
        Ok(page)
    }
}
