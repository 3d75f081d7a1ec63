// Appends records to a log, so that nothing that was appended is lost when the process is killed.
//
// The end of the file is mapped into memory, and a record is written there: no system call, no
// thread and no buffer of our own, and whatever ends the process, the system writes out what was
// stored. The last record before a crash is the one that explains it.
//
// # Why not a buffer and a thread that writes it?
// It loses what it holds, and a record of 200 bytes costs less to store than to hand over.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "kernels/base/result.hpp"
#include "runtime/trace/log_format.hpp"

namespace sluice::trace {

class LogWriter {
 public:
  /// Makes the file anew.
  [[nodiscard]] static Result<std::unique_ptr<LogWriter>> create(const std::filesystem::path& path);
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;
  ~LogWriter();

  /// Any thread. The order of records is that of the calls. `head` and `body` are one content.
  /// After the first failure (a full disk) nothing more is written: the log ends where it was.
  void append(RecordKind kind, std::span<const std::byte> head,
              std::span<const std::byte> body = {});
  /// Bytes of all records so far.
  [[nodiscard]] std::uint64_t size_bytes() const;
  /// The first failure.
  [[nodiscard]] Status status() const;
  /// Marks the log as whole and cuts the file to its size. Called once, when no thread appends.
  Status close();

 private:
  struct State;
  explicit LogWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace sluice::trace
