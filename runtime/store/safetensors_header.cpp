// A SAX handler that accepts exactly the header's grammar, then the checks over all tensors.
#include "runtime/store/safetensors_header.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_set>

#include "runtime/store/safetensors.hpp"

namespace sluice::store {
namespace {

struct FormatDType {
  std::string_view name;
  std::uint64_t bits;
};

// Every dtype of the format; those that kernels/base/dtype.hpp lacks stay opaque.
constexpr std::array<FormatDType, 20> kFormatDTypes{
    {{"BOOL", 8}, {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
     {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"I16", 16},
     {"U16", 16}, {"F16", 16},    {"BF16", 16},   {"I32", 32},    {"U32", 32},
     {"F32", 32}, {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64}}};

const FormatDType* find_dtype(std::string_view name) {
  const auto* it = std::find_if(kFormatDTypes.begin(), kFormatDTypes.end(),
                                [name](const FormatDType& d) { return d.name == name; });
  return it == kFormatDTypes.end() ? nullptr : it;
}

// A name from the file as a message may show it.
std::string in_quotes(std::string_view name) {
  return name.size() <= 200 ? fmt::format("\"{}\"", name)
                            : fmt::format("\"{}...\"", name.substr(0, 200));
}

// Follows the grammar { name: {"dtype": s, "shape": [n...], "data_offsets": [n, n]},
// "__metadata__": {s: s} }.
class HeaderHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  [[nodiscard]] const std::string& problem() const { return problem_; }
  SafetensorsHeader take() { return {std::move(tensors_), std::move(metadata_)}; }

  bool null() override { return reject("null"); }
  bool boolean(bool) override { return reject("true or false"); }
  bool number_float(double, const std::string& text) override { return reject(text); }
  bool binary(binary_t&) override { return reject("binary data"); }

  bool number_integer(std::int64_t value) override {
    return reject(fmt::format("the number {}", value));
  }

  bool number_unsigned(std::uint64_t value) override {
    if (state_ == State::kShape) {
      if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        return fail(fmt::format("tensor {}: dimension {} is too large", in_quotes(name_), value));
      }
      tensors_.back().dimensions.push_back(static_cast<std::int64_t>(value));
      return true;
    }
    if (state_ == State::kOffsets && offsets_.size() < 2) {
      offsets_.push_back(value);
      return true;
    }
    return reject(fmt::format("the number {}", value));
  }

  bool string(std::string& value) override {
    if (state_ == State::kMetadata) {
      if (!metadata_.emplace(name_, std::move(value)).second) return fail_twice(name_);
      return true;
    }
    if (state_ != State::kTensor || member_ != "dtype") return reject(in_quotes(value));
    tensors_.back().dtype_name = std::move(value);
    return true;
  }

  bool start_object(std::size_t) override {
    switch (state_) {
      case State::kStart: state_ = State::kTop; return true;
      case State::kTop: return start_entry();
      default: return reject("an object");
    }
  }

  bool key(std::string& value) override {
    if (state_ == State::kTensor) {
      member_ = std::move(value);
      return key_of_tensor();
    }
    name_ = std::move(value);
    return true;
  }

  bool end_object() override {
    if (state_ == State::kTop) {
      state_ = State::kEnd;
      return true;
    }
    if (state_ == State::kTensor && !finish_tensor()) return false;
    state_ = State::kTop;
    return true;
  }

  bool start_array(std::size_t) override {
    if (state_ != State::kTensor || member_ == "dtype") return reject("an array");
    state_ = member_ == "shape" ? State::kShape : State::kOffsets;
    return true;
  }

  bool end_array() override {
    state_ = State::kTensor;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    return fail(fmt::format("header is not JSON at byte {}: {:.200}", position, error.what()));
  }

 private:
  enum class State { kStart, kTop, kMetadata, kTensor, kShape, kOffsets, kEnd };

  bool fail(std::string problem) {
    problem_ = std::move(problem);
    return false;
  }
  bool fail_twice(std::string_view name) { return fail(in_quotes(name) + " stands twice"); }
  bool reject(std::string_view what) {
    if (state_ == State::kStart) return fail("header is not a JSON object");
    return fail(fmt::format("header entry {}: {} has no place there", in_quotes(name_), what));
  }

  bool start_entry() {
    if (name_ == "__metadata__") {
      if (metadata_seen_) return fail_twice(name_);
      metadata_seen_ = true;
      state_ = State::kMetadata;
      return true;
    }
    if (!names_.insert(name_).second) return fail_twice(name_);
    tensors_.emplace_back().name = name_;
    offsets_.clear();
    members_seen_ = 0;
    state_ = State::kTensor;
    return true;
  }

  bool key_of_tensor() {
    constexpr std::array<std::string_view, 3> kMembers{"dtype", "shape", "data_offsets"};
    const auto* it = std::find(kMembers.begin(), kMembers.end(), member_);
    if (it == kMembers.end()) {
      return fail(fmt::format("tensor {}: unknown key {}", in_quotes(name_), in_quotes(member_)));
    }
    const unsigned bit = 1u << (it - kMembers.begin());
    if ((members_seen_ & bit) != 0) return fail_twice(member_);
    members_seen_ |= bit;
    return true;
  }

  bool finish_tensor() {
    StoredTensor& tensor = tensors_.back();
    if (members_seen_ != 7 || offsets_.size() != 2) {
      return fail(
          fmt::format("tensor {} lacks dtype, shape or two data_offsets", in_quotes(name_)));
    }
    if (find_dtype(tensor.dtype_name) == nullptr) {
      return fail(fmt::format("tensor {}: unknown dtype {}", in_quotes(name_),
                              in_quotes(tensor.dtype_name)));
    }
    if (offsets_[0] > offsets_[1]) {
      return fail(fmt::format("tensor {}: data_offsets [{}, {}] run backwards", in_quotes(name_),
                              offsets_[0], offsets_[1]));
    }
    tensor.dtype = dtype_from_name(tensor.dtype_name);
    tensor.offset = offsets_[0];
    tensor.bytes = offsets_[1] - offsets_[0];
    return true;
  }

  State state_ = State::kStart;
  std::string name_;    // key in the outer object or in the metadata
  std::string member_;  // key in a tensor's object
  unsigned members_seen_ = 0;
  bool metadata_seen_ = false;
  std::vector<std::uint64_t> offsets_;
  std::unordered_set<std::string> names_;
  std::vector<StoredTensor> tensors_;
  std::map<std::string, std::string> metadata_;
  std::string problem_;
};

// Absent when the size overflows or is no whole number of bytes.
std::optional<std::uint64_t> bytes_of(const StoredTensor& tensor) {
  std::uint64_t bits = find_dtype(tensor.dtype_name)->bits;
  const bool is_empty =
      std::find(tensor.dimensions.begin(), tensor.dimensions.end(), 0) != tensor.dimensions.end();
  if (is_empty) return 0;
  for (const std::int64_t dimension : tensor.dimensions) {
    if (__builtin_mul_overflow(bits, static_cast<std::uint64_t>(dimension), &bits)) {
      return std::nullopt;
    }
  }
  return bits % 8 == 0 ? std::optional(bits / 8) : std::nullopt;
}

Status check_layout(const std::vector<StoredTensor>& tensors, std::uint64_t data_bytes) {
  std::uint64_t end = 0;
  for (const StoredTensor& tensor : tensors) {
    const std::optional<std::uint64_t> bytes = bytes_of(tensor);
    if (!bytes || *bytes != tensor.bytes) {
      return invalid_input(
          "tensor {}: {} of shape {} does not take the {} bytes of its data_offsets",
          in_quotes(tensor.name), tensor.dtype_name, tensor.shape_text(), tensor.bytes);
    }
    if (tensor.offset != end) {
      return invalid_input("tensor {} {} the one before it: it begins at byte {}, that ends at {}",
                           in_quotes(tensor.name),
                           tensor.offset < end ? "overlaps" : "leaves a hole after", tensor.offset,
                           end);
    }
    if (tensor.bytes > data_bytes - end) {
      return invalid_input("truncated: tensor {} ends at byte {} of {} bytes of data",
                           in_quotes(tensor.name), tensor.offset + tensor.bytes, data_bytes);
    }
    end += tensor.bytes;
  }
  if (end != data_bytes) {
    return invalid_input("{} bytes follow the last tensor's data", data_bytes - end);
  }
  return {};
}

}  // namespace

Result<SafetensorsHeader> parse_safetensors_header(std::string_view text,
                                                   std::uint64_t data_bytes) {
  if (text.empty() || text.front() != '{')
    return invalid_input("not a safetensors file: the header does not begin with '{{'");
  HeaderHandler handler;
  try {
    if (!nlohmann::json::sax_parse(text.begin(), text.end(), &handler)) {
      return invalid_input("{}", handler.problem());
    }
  } catch (const nlohmann::json::exception& error) {
    return invalid_input("header is not JSON: {:.200}", error.what());
  }
  SafetensorsHeader header = handler.take();
  // An empty tensor may share its offset with the one that follows.
  std::sort(header.tensors.begin(), header.tensors.end(),
            [](const StoredTensor& a, const StoredTensor& b) {
              return std::pair(a.offset, a.bytes) < std::pair(b.offset, b.bytes);
            });
  SLUICE_TRY(check_layout(header.tensors, data_bytes));
  return header;
}

}  // namespace sluice::store
