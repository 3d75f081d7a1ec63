// Safetensors files: 8 bytes of header length, a JSON header {name: {dtype, shape, data_offsets}},
// then the data.
//
// The reader checks the whole header against the file before it gives out anything: length, JSON,
// dtypes, shapes whose product fits, offsets that cover the data without overlap, hole or rest,
// names that stand once. It allocates in proportion to the header, and for a tensor only what the
// file really holds.
//
// # Why not mmap?
// A file that shrinks or a disk that fails under a mapping is a signal, not a Result; the file's
// pages would count as ours in the memory that a run reports; and headers of foreign writers leave
// tensors unaligned.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "kernels/base/result.hpp"
#include "kernels/base/tensor.hpp"
#include "runtime/store/file.hpp"

namespace sluice::store {

/// One tensor of a file.
struct StoredTensor {
  std::string name;
  std::string dtype_name;                ///< as in the file: "F32", "BF16", "F8_E4M3", "BOOL", ...
  std::optional<DType> dtype;            ///< absent: a dtype that Sluice does not compute with
  std::vector<std::int64_t> dimensions;  ///< any rank
  std::uint64_t offset = 0;              ///< of its first byte in the file
  std::uint64_t bytes = 0;

  /// Absent when there are more than Shape::kRankMax dimensions.
  [[nodiscard]] std::optional<Shape> shape() const;
  [[nodiscard]] std::string shape_text() const;
};

/// An open file with a checked header. Move-only; reading is thread-safe.
class SafetensorsFile {
 public:
  [[nodiscard]] static Result<SafetensorsFile> open(const std::filesystem::path& path);

  /// In the order of their data.
  [[nodiscard]] const std::vector<StoredTensor>& tensors() const { return tensors_; }
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const { return metadata_; }
  [[nodiscard]] const std::filesystem::path& path() const { return file_.path(); }
  /// Null when there is none of that name.
  [[nodiscard]] const StoredTensor* find(std::string_view name) const;
  [[nodiscard]] bool contains(std::string_view name) const { return find(name) != nullptr; }

  /// `out.size()` bytes of a tensor of this file, from `first_byte` of its data on.
  [[nodiscard]] Status read_bytes(const StoredTensor& tensor, std::uint64_t first_byte,
                                  std::span<std::byte> out) const;
  /// The whole tensor on the heap, in its stored dtype.
  [[nodiscard]] Result<Tensor> read(std::string_view name) const;

 private:
  SafetensorsFile(File file, std::vector<StoredTensor> tensors,
                  std::map<std::string, std::string> metadata);

  File file_;
  std::vector<StoredTensor> tensors_;
  std::map<std::string, std::string> metadata_;
  std::unordered_map<std::string_view, std::size_t> index_;  // views of tensors_[i].name
};

/// What a writer will hold.
struct TensorSpec {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
};

/// Writes one file whose tensors are known beforehand; their data may come in any order, from
/// several threads, each tensor once. The disk space is taken at create(), so that a full disk
/// shows before anything was computed. Data begins at a multiple of 8 bytes.
class SafetensorsWriter {
 public:
  [[nodiscard]] static Result<SafetensorsWriter> create(const std::filesystem::path& path,
                                                        std::vector<TensorSpec> specs);

  [[nodiscard]] const std::vector<TensorSpec>& specs() const { return specs_; }
  [[nodiscard]] const std::filesystem::path& path() const { return file_.path(); }
  [[nodiscard]] std::uint64_t size_bytes() const { return file_.size(); }
  /// Position in specs() of `name`; absent where it is not to be written.
  [[nodiscard]] std::optional<std::size_t> find(std::string_view name) const;
  /// The same of a name that must be there.
  [[nodiscard]] std::size_t position(std::string_view name) const;
  /// `bytes` of tensor `position`, from `first_byte` of its data on.
  [[nodiscard]] Status write_bytes(std::size_t position, std::uint64_t first_byte,
                                   std::span<const std::byte> bytes) const;
  /// A whole tensor of the dtype and count that the spec says.
  [[nodiscard]] Status write(std::string_view name, const Tensor& tensor) const;
  [[nodiscard]] Status sync() const { return file_.sync(); }

 private:
  SafetensorsWriter(File file, std::vector<TensorSpec> specs, std::uint64_t data_begin);

  File file_;
  std::vector<TensorSpec> specs_;
  std::vector<std::uint64_t> offsets_;                       // of each tensor in the file
  std::unordered_map<std::string_view, std::size_t> index_;  // views of specs_[i].name
};

/// Writes `tensors` to `path` in one go, through a temporary file, synced.
[[nodiscard]] Status write_safetensors(const std::filesystem::path& path,
                                       const std::vector<std::pair<std::string, Tensor>>& tensors);

}  // namespace sluice::store
