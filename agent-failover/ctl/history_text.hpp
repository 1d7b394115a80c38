#pragma once

// Events, log lines and changes, one line of text each: pure functions.

#include <string>

#include "agent-failover/ctl/status_view.hpp"
#include "understudy/v1/change_feed.pb.h"
#include "understudy/v1/server.pb.h"

namespace understudy::ctl {

// "2026-11-22 15:40:16 WARNING aklmatrix second_failure: text (by operator)".
std::string event_line(const v1::Event& event, const view& how);

// "2026-11-22 15:40:16 INFO aklmatrix: text".
std::string log_line(const v1::LogLine& line, const view& how);

// "2026-11-22 15:40:16 ctserver.users UPDATE rowid=7 name='new' (was name='old')": the columns that changed.
// Empty when it is no change, only a cursor.
std::string row_change_line(const v1::WatchRowsResponse& change);

// "2026-11-22 15:40:16 /var/lib/pbx/vm PUT extn/7.wav 12 KiB"; a directory with a slash at its end. Empty
// when it is no change, only a cursor.
std::string file_change_line(const v1::WatchFilesResponse& change);

// A value as SQL would have it; long texts and blobs are cut.
std::string value_text(const v1::RowValue& value);

}  // namespace understudy::ctl
