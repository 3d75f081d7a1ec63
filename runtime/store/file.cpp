// POSIX files behind Result.
#include "runtime/store/file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>
#include <utility>

#include "kernels/base/check.hpp"

namespace sluice::store {
namespace {

namespace fs = std::filesystem;

std::string reason(int error) { return std::generic_category().message(error); }

std::string next_step(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT: return "; free some space or choose another folder";
    case EFBIG: return "; the limit on file sizes (ulimit -f) is too low";
    case EROFS:
    case EACCES:
    case EPERM: return "; choose one that you may use";
    case ENOENT:
    case ENOTDIR: return "; check the path";
    default: return "";
  }
}

bool is_callers_fault(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case EACCES:
    case EPERM:
    case EROFS:
    case ELOOP:
    case ENAMETOOLONG:
    case EINVAL: return true;
    default: return false;
  }
}

tl::unexpected<Error> system_failure(std::string_view what, const fs::path& path, int error) {
  return failed("cannot {} {}: {}{}", what, path.string(), reason(error), next_step(error));
}

// Of a path that is met for the first time: one that cannot be used is the caller's.
tl::unexpected<Error> path_failure(std::string_view what, const fs::path& path, int error) {
  auto failure = system_failure(what, path, error);
  if (is_callers_fault(error)) failure.value().kind = ErrorKind::kInvalidInput;
  return failure;
}

int close_retrying(int descriptor) { return descriptor < 0 ? 0 : ::close(descriptor); }

// Some file systems cannot reserve; then a full disk shows at the write.
int reserve(int descriptor, std::uint64_t size) {
  if (size == 0) return 0;
  const int error = ::posix_fallocate(descriptor, 0, static_cast<off_t>(size));
  return error == EOPNOTSUPP || error == EINVAL || error == ENOSYS ? 0 : error;
}

Status sync_descriptor(int descriptor, const fs::path& path) {
  while (::fsync(descriptor) != 0) {
    if (errno == EINTR) continue;
    if (errno == EINVAL || errno == ENOTSUP) return {};  // a file system without it
    return system_failure("sync", path, errno);
  }
  return {};
}

}  // namespace

File::File(File&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      size_(other.size_),
      path_(std::move(other.path_)) {}

File& File::operator=(File&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(size_, other.size_);
  std::swap(path_, other.path_);
  return *this;
}

File::~File() { close_retrying(descriptor_); }

Result<File> File::open_read(const fs::path& path) {
  if (path.native().find('\0') != std::string::npos) {
    return invalid_input("a file name holds a zero byte");
  }
  // Not blocking: opening a named pipe would wait for its writer.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return path_failure("open", path, errno);
  File file(descriptor, 0, path);
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) return system_failure("examine", path, errno);
  if (!S_ISREG(status.st_mode)) return invalid_input("{} is not a plain file", path.string());
  file.size_ = static_cast<std::uint64_t>(status.st_size);
  return file;
}

Result<File> File::create(const fs::path& path, std::uint64_t size) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor < 0) return path_failure("create", path, errno);
  File file(descriptor, size, path);
  if (const int error = reserve(descriptor, size)) return system_failure("write", path, error);
  return file;
}

Status File::read_at(std::uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t n = ::pread(descriptor_, out.data(), out.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return system_failure("read", path_, errno);
    if (n == 0) return failed("{} ends before byte {}", path_.string(), offset + out.size());
    offset += static_cast<std::uint64_t>(n);
    out = out.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

Status File::write_at(std::uint64_t offset, std::span<const std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return system_failure("write", path_, errno);
    offset += static_cast<std::uint64_t>(n);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

Status File::sync() const { return sync_descriptor(descriptor_, path_); }

TemporaryTree::~TemporaryTree() {
  if (path_.empty()) return;
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

Result<LockFile> LockFile::acquire(const fs::path& path) {
  SLUICE_ASSIGN(File file, File::create(path, 0));
  if (::flock(file.descriptor_, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return system_failure("lock", path, errno);
    return failed(
        "{} is held by another process that writes there; stop it or choose another folder",
        path.string());
  }
  return LockFile(std::move(file));
}

Result<std::string> read_text(const fs::path& path, std::uint64_t bytes_max) {
  SLUICE_ASSIGN(const File file, File::open_read(path));
  if (file.size() > bytes_max) {
    return invalid_input("{} has {} bytes, more than the {} that such a file may have",
                         path.string(), file.size(), bytes_max);
  }
  std::string text(file.size(), '\0');
  SLUICE_TRY(file.read_at(0, std::as_writable_bytes(std::span(text))));
  return text;
}

Status write_text(const fs::path& path, std::string_view text) {
  fs::path temporary = path;
  temporary += ".tmp";
  {
    SLUICE_ASSIGN(const File file, File::create(temporary, text.size()));
    SLUICE_TRY(file.write_at(0, std::as_bytes(std::span(text))));
    SLUICE_TRY(file.sync());
  }
  SLUICE_TRY(rename_path(temporary, path));
  return sync_directory(path.parent_path());
}

Status sync_directory(const fs::path& folder) {
  const fs::path path = folder.empty() ? fs::path(".") : folder;
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return system_failure("open", path, errno);
  Status status = sync_descriptor(descriptor, path);
  close_retrying(descriptor);
  return status;
}

Status make_directories(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return path_failure("create the folder", folder, error.value());
  return {};
}

Status rename_path(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return system_failure("rename to", to, errno);
  return {};
}

Status exchange_paths(const fs::path& from, const fs::path& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) return {};
  if (errno != EINVAL && errno != ENOSYS) return system_failure("rename to", to, errno);
  fs::path aside = from;
  aside += ".old";
  SLUICE_TRY(rename_path(to, aside));
  SLUICE_TRY(rename_path(from, to));
  return rename_path(aside, from);
}

Status link_tree(const fs::path& from, const fs::path& to) {
  SLUICE_TRY(remove_tree(to));
  SLUICE_TRY(make_directories(to));
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(from, error)) {
    if (!entry.is_regular_file(error)) continue;
    const fs::path target = to / entry.path().filename();
    fs::create_hard_link(entry.path(), target, error);
    if (error) fs::copy_file(entry.path(), target, error);
    if (error) return system_failure("copy to", target, error.value());
  }
  if (error) return path_failure("list", from, error.value());
  return {};
}

Status remove_tree(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) return system_failure("remove", path, error.value());
  return {};
}

}  // namespace sluice::store
