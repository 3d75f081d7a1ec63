// Any bytes as a safetensors file; every tensor of a file that opens must read.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <string>

#include "kernels/base/check.hpp"
#include "runtime/store/safetensors.hpp"

namespace {

// A file in memory, with a path.
class MemoryFile {
 public:
  MemoryFile(const std::uint8_t* data, std::size_t size) : descriptor_(::memfd_create("fuzz", 0)) {
    SLUICE_CHECK(descriptor_ >= 0);
    SLUICE_CHECK(::write(descriptor_, data, size) == static_cast<ssize_t>(size));
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { ::close(descriptor_); }
  [[nodiscard]] std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice;
  const MemoryFile memory(data, size);
  const auto file = store::SafetensorsFile::open(memory.path());
  if (!file) return 0;
  std::uint64_t bytes = 0;
  for (const store::StoredTensor& tensor : file->tensors()) {
    bytes += tensor.bytes;
    const auto read = file->read(tensor.name);
    const bool readable = tensor.dtype.has_value() && tensor.shape().has_value();
    SLUICE_CHECK(read.has_value() == readable, "{}", read ? "" : read.error().message);
  }
  SLUICE_CHECK(bytes < size);
  return 0;
}
