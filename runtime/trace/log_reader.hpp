// Reads a log record by record, also while it is being written and after its writer was killed.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "kernels/base/result.hpp"
#include "kernels/base/tensor.hpp"
#include "runtime/store/file.hpp"
#include "runtime/trace/log_format.hpp"

namespace sluice::trace {

struct Record {
  RecordKind kind = RecordKind::kEnd;
  std::uint64_t offset = 0;
  std::span<const std::byte> content;  ///< until the next call; of a skipped payload its head alone
};

class LogReader {
 public:
  /// `path` is a log, or the folder of a recording.
  [[nodiscard]] static Result<LogReader> open(const std::filesystem::path& path);

  /// The next record, or nothing where the log ends. Errors name the offset of what was changed.
  [[nodiscard]] Result<std::optional<Record>> next();
  /// Again from the first record.
  void rewind();
  /// `offset` is that of a record.
  void go_to(std::uint64_t offset) {
    offset_ = offset;
    closed_ = false;
  }
  /// From now on contents of payloads are passed over, neither read nor checked.
  void skip_payloads() { skip_payloads_ = true; }

  /// Once next() gave nothing: the log was closed, rather than its writer killed or its file cut.
  [[nodiscard]] bool closed() const { return closed_; }
  /// Where the next record begins.
  [[nodiscard]] std::uint64_t offset() const { return offset_; }
  [[nodiscard]] const std::filesystem::path& path() const { return file_.path(); }

 private:
  explicit LogReader(store::File file) : file_(std::move(file)) {}
  /// Bytes [offset, offset + bytes) of the file, of which there are at most what is left.
  [[nodiscard]] Result<std::span<const std::byte>> peek(std::uint64_t offset, std::uint64_t bytes);
  [[nodiscard]] Result<std::optional<Record>> at_end();
  [[nodiscard]] tl::unexpected<Error> changed(std::uint64_t offset) const;

  store::File file_;
  std::vector<std::byte> buffer_;  // bytes of the file from buffer_first_ on
  std::uint64_t buffer_first_ = 0;
  std::uint64_t offset_ = 0;
  bool skip_payloads_ = false;
  bool closed_ = false;
};

}  // namespace sluice::trace
