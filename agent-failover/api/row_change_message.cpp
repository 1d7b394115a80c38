#include "agent-failover/api/row_change_message.hpp"

#include <variant>

#include "common/rpc/timestamp.hpp"
#include "common/rpc/utf8.hpp"

namespace understudy::api {
namespace {

// Adds the value unless the row has no room for it.
struct value_writer {
  v1::RowValue& to;
  std::uint64_t& left;

  bool fits(std::uint64_t size, bool text) {
    if (size <= left) {
      left -= size;
      return true;
    }
    to.mutable_omitted()->set_text(text);
    to.mutable_omitted()->set_bytes(size);
    return false;
  }
  void operator()(std::monostate) {}
  void operator()(std::int64_t integer) { to.set_integer(integer); }
  void operator()(double real) { to.set_real(real); }
  void operator()(const rows::text_value& text) {
    if (!fits(text.bytes.size(), true)) return;
    rpc::is_utf8(text.bytes) ? to.set_text(text.bytes) : to.set_raw_text(text.bytes);
  }
  void operator()(const rows::blob_value& blob) {
    if (fits(blob.bytes.size(), false)) to.set_blob(blob.bytes);
  }
  void operator()(const rows::omitted_value& omitted) {
    to.mutable_omitted()->set_text(omitted.text);
    to.mutable_omitted()->set_bytes(omitted.size);
  }
};

void add_row(const rows::row& from, google::protobuf::RepeatedPtrField<v1::RowValue>& to) {
  std::uint64_t left = most_row_bytes;
  std::size_t place = 0;
  for (const rows::column& column : from.shape->columns) {
    if (column.computed) continue;
    v1::RowValue& value = *to.Add();
    value.set_column(rpc::as_utf8(column.name));
    std::visit(value_writer{value, left}, from.values[place++]);
  }
}

}  // namespace

v1::RowChangeKind kind_of(rows::change_kind kind) {
  switch (kind) {
    case rows::change_kind::insert:
      return v1::ROW_CHANGE_KIND_INSERT;
    case rows::change_kind::update:
      return v1::ROW_CHANGE_KIND_UPDATE;
    case rows::change_kind::remove:
      return v1::ROW_CHANGE_KIND_DELETE;
    case rows::change_kind::create:
      return v1::ROW_CHANGE_KIND_CREATE;
    case rows::change_kind::alter:
      return v1::ROW_CHANGE_KIND_ALTER;
    case rows::change_kind::drop:
      return v1::ROW_CHANGE_KIND_DROP;
    case rows::change_kind::unclear:
      return v1::ROW_CHANGE_KIND_UNCLEAR;
  }
  return v1::ROW_CHANGE_KIND_UNSPECIFIED;
}

v1::WatchRowsResponse message_of(const history::change& transaction, const rows::change& what) {
  v1::WatchRowsResponse message;
  message.set_table(rpc::as_utf8(what.table));
  message.set_kind(kind_of(what.kind));
  message.set_transaction(transaction.sequence);
  message.set_several_transactions(transaction.kind == history::change_kind::heal);
  *message.mutable_committed_at() = rpc::to_timestamp(transaction.committed_at);
  if (what.rowid) {
    message.set_has_rowid(true);
    message.set_rowid(*what.rowid);
  }
  if (what.before) add_row(*what.before, *message.mutable_before());
  if (what.after) add_row(*what.after, *message.mutable_after());
  if (const auto* row = what.after ? &*what.after : what.before ? &*what.before : nullptr) {
    for (std::size_t i = 0; i < row->shape->key_columns; ++i) {
      message.add_key(rpc::as_utf8(row->shape->columns[row->shape->stored[i]].name));
    }
  }
  if (!what.object.empty()) {
    v1::SchemaChange& schema = *message.mutable_schema();
    schema.set_object(rpc::as_utf8(what.object));
    schema.set_old_name(rpc::as_utf8(what.old_name));
    schema.set_sql_before(rpc::as_utf8(what.sql_before));
    schema.set_sql_after(rpc::as_utf8(what.sql_after));
  }
  message.set_reason(rpc::as_utf8(what.reason));
  return message;
}

}  // namespace understudy::api
