// One buffer over the file; a record is checked before it is given out.
#include "runtime/trace/log_reader.hpp"

#include <algorithm>
#include <cstring>

namespace sluice::trace {
namespace {

constexpr std::uint64_t kBufferBytes = std::uint64_t{1} << 18;
constexpr std::uint64_t kPayloadHeadBytes = 64;  // type, shape and digest are within it

std::uint64_t word_at(std::span<const std::byte> bytes, std::size_t at) {
  std::uint64_t word = 0;
  std::memcpy(&word, bytes.data() + at, sizeof(word));
  return word;
}

}  // namespace

Result<LogReader> LogReader::open(const std::filesystem::path& path) {
  std::error_code error;
  const bool is_folder = std::filesystem::is_directory(path, error);
  const std::filesystem::path file = is_folder ? path / kLogName : path;
  if (is_folder && !std::filesystem::exists(file, error)) {
    return invalid_input("{} holds no {}: it is no recording; give the folder that --record named",
                         path.string(), kLogName);
  }
  SLUICE_ASSIGN(store::File opened, store::File::open_read(file));
  LogReader reader(std::move(opened));
  SLUICE_ASSIGN(const auto magic, reader.peek(0, kLogMagic.size()));
  const std::string_view text(reinterpret_cast<const char*>(magic.data()), magic.size());
  if (text.size() < kLogMagic.size() || text.substr(0, 15) != kLogMagic.substr(0, 15))
    return invalid_input("{} is not a log of sluice; give the folder that --record named",
                         file.string());
  if (text != kLogMagic) {
    return invalid_input(
        "{} has format {}, this program reads format {}; use the sluice that made it",
        file.string(), static_cast<int>(text.back()), static_cast<int>(kLogMagic.back()));
  }
  reader.rewind();
  return reader;
}

void LogReader::rewind() {
  offset_ = kLogMagic.size();
  closed_ = false;
}

Result<std::span<const std::byte>> LogReader::peek(std::uint64_t offset, std::uint64_t bytes) {
  if (offset >= file_.size()) return std::span<const std::byte>();
  bytes = std::min(bytes, file_.size() - offset);
  const std::uint64_t end = buffer_first_ + buffer_.size();
  if (offset < buffer_first_ || offset + bytes > end) {
    const std::uint64_t wanted = std::max(bytes, kBufferBytes);
    buffer_.resize(std::min(wanted, file_.size() - offset));
    buffer_first_ = offset;
    SLUICE_TRY(file_.read_at(offset, buffer_));
  }
  return std::span<const std::byte>(buffer_).subspan(offset - buffer_first_, bytes);
}

tl::unexpected<Error> LogReader::changed(std::uint64_t offset) const {
  return failed(
      "{}: the record at byte {} does not match its checksum; the file was changed after "
      "it was written, so nothing from there on is used",
      file_.path().string(), offset);
}

// A zero word: the writer came this far. Unless the log was closed: its last record then stands
// where the file ends.
Result<std::optional<Record>> LogReader::at_end() {
  const std::uint64_t last = file_.size() - kRecordHeadBytes;
  SLUICE_ASSIGN(const auto bytes, peek(last, kRecordHeadBytes));
  if (word_at(bytes, 0) == record_word(RecordKind::kEnd, 0, last)) return changed(offset_);
  return std::nullopt;
}

Result<std::optional<Record>> LogReader::next() {
  if (closed_) return std::nullopt;
  SLUICE_ASSIGN(auto head, peek(offset_, kRecordHeadBytes));
  if (head.size() < kRecordHeadBytes) return std::nullopt;  // the file was cut
  const std::uint64_t word = word_at(head, 0);
  if (word == 0) return at_end();
  const std::uint64_t checksum = word_at(head, 8);
  const auto kind = static_cast<RecordKind>(word & 0xff);
  const std::uint64_t bytes = word >> 8 & kRecordBytesMax;
  if (word != record_word(kind, bytes, offset_) || kind > kRecordKindLast) return changed(offset_);

  const bool skip = skip_payloads_ && kind == RecordKind::kPayload;
  const std::uint64_t wanted = skip ? std::min(bytes, kPayloadHeadBytes) : bytes;
  if (offset_ + kRecordHeadBytes + bytes > file_.size()) return std::nullopt;  // it was cut
  SLUICE_ASSIGN(const auto content, peek(offset_ + kRecordHeadBytes, wanted));
  if (!skip && record_checksum(word, offset_, content) != checksum) return changed(offset_);
  const Record record{kind, offset_, content};
  offset_ += kRecordHeadBytes + padded(bytes);
  closed_ = kind == RecordKind::kEnd;
  if (closed_ && offset_ != file_.size()) return changed(offset_);
  if (closed_) return std::nullopt;
  return record;
}

}  // namespace sluice::trace
