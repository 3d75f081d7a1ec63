// Files as the stores need them: whole reads with a limit, positioned reads and writes, durable
// renames.
//
// Every failure says what was tried, on which path, and what the system answered. A path that
// cannot be opened or created, or is no plain file, is the caller's fault (invalid_input); the rest
// went wrong later (failed). Never blocks on a pipe or device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "kernels/base/result.hpp"

namespace sluice::store {

/// An open plain file. Move-only; closed on destruction. read_at and write_at may be called from
/// several threads.
class File {
 public:
  File() = default;
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();

  [[nodiscard]] static Result<File> open_read(const std::filesystem::path& path);
  /// Truncates what is there. Takes the disk space for `size` bytes at once, so that a full disk
  /// shows here.
  [[nodiscard]] static Result<File> create(const std::filesystem::path& path, std::uint64_t size);

  [[nodiscard]] std::uint64_t size() const { return size_; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// Fills `out` from `offset`, or fails; a file that shrank since it was opened is a failure.
  [[nodiscard]] Status read_at(std::uint64_t offset, std::span<std::byte> out) const;
  [[nodiscard]] Status write_at(std::uint64_t offset, std::span<const std::byte> bytes) const;
  /// Content and size reach the disk before this returns.
  [[nodiscard]] Status sync() const;

 private:
  friend class LockFile;
  File(int descriptor, std::uint64_t size, std::filesystem::path path)
      : descriptor_(descriptor), size_(size), path_(std::move(path)) {}

  int descriptor_ = -1;
  std::uint64_t size_ = 0;
  std::filesystem::path path_;
};

/// A file whose lock one process holds until it ends or this object goes. Move-only.
class LockFile {
 public:
  /// Fails at once where another process holds it.
  [[nodiscard]] static Result<LockFile> acquire(const std::filesystem::path& path);

 private:
  explicit LockFile(File file) : file_(std::move(file)) {}
  File file_;
};

/// A folder that goes, with all in it, when this object does, unless it was released. Move-only.
class TemporaryTree {
 public:
  explicit TemporaryTree(std::filesystem::path path) : path_(std::move(path)) {}
  TemporaryTree(TemporaryTree&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  TemporaryTree& operator=(TemporaryTree&&) = delete;
  ~TemporaryTree();

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  void release() { path_.clear(); }

 private:
  std::filesystem::path path_;
};

/// The whole file, at most `bytes_max` long.
[[nodiscard]] Result<std::string> read_text(const std::filesystem::path& path,
                                            std::uint64_t bytes_max);
/// Creates `path` with `text`, synced; what stood there before is gone only when the new file is
/// whole.
[[nodiscard]] Status write_text(const std::filesystem::path& path, std::string_view text);

/// The folder's list of names reaches the disk.
[[nodiscard]] Status sync_directory(const std::filesystem::path& folder);
/// Makes the folder and its parents.
[[nodiscard]] Status make_directories(const std::filesystem::path& folder);
[[nodiscard]] Status rename_path(const std::filesystem::path& from,
                                 const std::filesystem::path& to);
/// Puts the folder `from` where `to` is, in one step when the file system can; the old `to` ends up
/// at `from`.
[[nodiscard]] Status exchange_paths(const std::filesystem::path& from,
                                    const std::filesystem::path& to);
/// Makes the folder `to` (what is there goes) with the plain files of `from`, whose content may
/// never be changed in place: as links where the file system can, else as copies.
[[nodiscard]] Status link_tree(const std::filesystem::path& from, const std::filesystem::path& to);
[[nodiscard]] Status remove_tree(const std::filesystem::path& path);

}  // namespace sluice::store
