// The safetensors container: header checks, positioned reads and writes.
#include "runtime/store/safetensors.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

#include "kernels/base/check.hpp"
#include "runtime/store/json_file.hpp"
#include "runtime/store/safetensors_header.hpp"

namespace sluice::store {
namespace {

constexpr std::uint64_t kLengthBytes = 8;

template <class Item>
std::unordered_map<std::string_view, std::size_t> index_by_name(const std::vector<Item>& items) {
  std::unordered_map<std::string_view, std::size_t> index;
  index.reserve(items.size());
  for (std::size_t i = 0; i < items.size(); ++i) {
    SLUICE_CHECK(index.emplace(items[i].name, i).second, "{} stands twice", items[i].name);
  }
  return index;
}

std::uint64_t decode_length(const std::array<std::byte, kLengthBytes>& bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = kLengthBytes; i-- > 0;)
    value = value << 8 | std::to_integer<std::uint64_t>(bytes[i]);
  return value;
}

std::string encode_length(std::uint64_t value) {
  std::string bytes;
  for (std::size_t i = 0; i < kLengthBytes; ++i, value >>= 8) {
    bytes.push_back(static_cast<char>(value & 0xff));
  }
  return bytes;
}

Result<std::string> read_header_text(const File& file) {
  if (file.size() < kLengthBytes) {
    return invalid_input("{} bytes are too few for a safetensors file", file.size());
  }
  std::array<std::byte, kLengthBytes> length_bytes{};
  SLUICE_TRY(file.read_at(0, length_bytes));
  const std::uint64_t length = decode_length(length_bytes);
  if (length > kHeaderBytesMax) {
    return invalid_input(
        "not a safetensors file: it begins with a header length of {}, more than the {} that the "
        "format allows",
        length, kHeaderBytesMax);
  }
  if (length > file.size() - kLengthBytes) {
    return invalid_input("truncated: header of {} bytes in a file of {}", length, file.size());
  }
  std::string text(length, '\0');
  SLUICE_TRY(file.read_at(kLengthBytes, std::as_writable_bytes(std::span(text))));
  return text;
}

// Padded so that the data begins at a multiple of 8 bytes.
std::string encode_header(const std::vector<TensorSpec>& specs) {
  nlohmann::ordered_json header;
  header["__metadata__"] = {{"format", "pt"}};
  std::uint64_t begin = 0;
  for (const TensorSpec& spec : specs) {
    const std::uint64_t end =
        begin + static_cast<std::uint64_t>(spec.shape.count()) * size_of(spec.dtype);
    nlohmann::ordered_json dimensions = nlohmann::ordered_json::array();
    for (int axis = 0; axis < spec.shape.rank(); ++axis) dimensions.push_back(spec.shape[axis]);
    header[spec.name] = {{"dtype", name_of(spec.dtype)},
                         {"shape", std::move(dimensions)},
                         {"data_offsets", {begin, end}}};
    begin = end;
  }
  std::string text = header.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return encode_length(text.size()) + text;
}

}  // namespace

std::optional<Shape> StoredTensor::shape() const {
  if (dimensions.size() > Shape::kRankMax) return std::nullopt;
  Shape shape;
  for (const std::int64_t dimension : dimensions) shape.append(dimension);
  return shape;
}

std::string StoredTensor::shape_text() const {
  return fmt::format("[{}]", fmt::join(dimensions, ", "));
}

Result<SafetensorsFile> SafetensorsFile::open(const std::filesystem::path& path) {
  SLUICE_ASSIGN(File file, File::open_read(path));
  auto text = read_header_text(file);
  if (!text) return in_context(path.string(), std::move(text).error());
  const std::uint64_t data_begin = kLengthBytes + text->size();
  auto header = parse_safetensors_header(*text, file.size() - data_begin);
  if (!header) return in_context(path.string(), std::move(header).error());
  for (StoredTensor& tensor : header->tensors) tensor.offset += data_begin;
  return SafetensorsFile(std::move(file), std::move(header->tensors), std::move(header->metadata));
}

SafetensorsFile::SafetensorsFile(File file, std::vector<StoredTensor> tensors,
                                 std::map<std::string, std::string> metadata)
    : file_(std::move(file)),
      tensors_(std::move(tensors)),
      metadata_(std::move(metadata)),
      index_(index_by_name(tensors_)) {}

const StoredTensor* SafetensorsFile::find(std::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &tensors_[it->second];
}

Status SafetensorsFile::read_bytes(const StoredTensor& tensor, std::uint64_t first_byte,
                                   std::span<std::byte> out) const {
  SLUICE_CHECK(first_byte <= tensor.bytes && out.size() <= tensor.bytes - first_byte,
               "{} bytes from {} of a tensor of {}", out.size(), first_byte, tensor.bytes);
  return file_.read_at(tensor.offset + first_byte, out);
}

Result<Tensor> SafetensorsFile::read(std::string_view name) const {
  const StoredTensor* stored = find(name);
  if (stored == nullptr) return invalid_input("{}: no tensor {}", path().string(), name);
  const std::optional<Shape> shape = stored->shape();
  if (!stored->dtype || !shape) {
    return invalid_input("{}: {} of dtype {} and shape {} is nothing that Sluice computes with",
                         path().string(), name, stored->dtype_name, stored->shape_text());
  }
  Tensor tensor(heap_allocator(), *stored->dtype, *shape);
  SLUICE_TRY(read_bytes(*stored, 0, {tensor.bytes(), tensor.size_bytes()}));
  return tensor;
}

Result<SafetensorsWriter> SafetensorsWriter::create(const std::filesystem::path& path,
                                                    std::vector<TensorSpec> specs) {
  const std::string header = encode_header(specs);
  std::uint64_t size = header.size();
  for (const TensorSpec& spec : specs) {
    size += static_cast<std::uint64_t>(spec.shape.count()) * size_of(spec.dtype);
  }
  SLUICE_ASSIGN(File file, File::create(path, size));
  SLUICE_TRY(file.write_at(0, std::as_bytes(std::span(header))));
  return SafetensorsWriter(std::move(file), std::move(specs), header.size());
}

SafetensorsWriter::SafetensorsWriter(File file, std::vector<TensorSpec> specs,
                                     std::uint64_t data_begin)
    : file_(std::move(file)), specs_(std::move(specs)), index_(index_by_name(specs_)) {
  std::uint64_t offset = data_begin;
  for (const TensorSpec& spec : specs_) {
    offsets_.push_back(offset);
    offset += static_cast<std::uint64_t>(spec.shape.count()) * size_of(spec.dtype);
  }
}

std::optional<std::size_t> SafetensorsWriter::find(std::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? std::nullopt : std::optional(it->second);
}

std::size_t SafetensorsWriter::position(std::string_view name) const {
  const auto found = find(name);
  SLUICE_CHECK(found.has_value(), "{} is not to be written to {}", name, path().string());
  return *found;
}

Status SafetensorsWriter::write_bytes(std::size_t position, std::uint64_t first_byte,
                                      std::span<const std::byte> bytes) const {
  const TensorSpec& spec = specs_[position];
  const auto size = static_cast<std::uint64_t>(spec.shape.count()) * size_of(spec.dtype);
  SLUICE_CHECK(first_byte <= size && bytes.size() <= size - first_byte,
               "{}: {} bytes from {} of {}", spec.name, bytes.size(), first_byte, size);
  return file_.write_at(offsets_[position] + first_byte, bytes);
}

Status SafetensorsWriter::write(std::string_view name, const Tensor& tensor) const {
  const std::size_t at = position(name);
  SLUICE_CHECK(tensor.dtype() == specs_[at].dtype, "{}", name);
  SLUICE_CHECK_EQ(tensor.shape().count(), specs_[at].shape.count());
  return write_bytes(at, 0, {tensor.bytes(), tensor.size_bytes()});
}

Status write_safetensors(const std::filesystem::path& path,
                         const std::vector<std::pair<std::string, Tensor>>& tensors) {
  std::vector<TensorSpec> specs;
  for (const auto& [name, tensor] : tensors)
    specs.push_back({name, tensor.dtype(), tensor.shape()});
  std::filesystem::path temporary = path;
  temporary += ".tmp";
  {
    SLUICE_ASSIGN(const auto writer, SafetensorsWriter::create(temporary, std::move(specs)));
    for (const auto& [name, tensor] : tensors) SLUICE_TRY(writer.write(name, tensor));
    SLUICE_TRY(writer.sync());
  }
  SLUICE_TRY(rename_path(temporary, path));
  return sync_directory(path.parent_path());
}

}  // namespace sluice::store
