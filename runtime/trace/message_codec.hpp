// Messages as bytes: every field of a body, and for each tensor or index column its type, shape and
// digest in place of its elements.
//
// Two messages say the same exactly when their bytes are the same. What differs is named by
// fields(). Elements come back from wherever the caller has them.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "actors/message.hpp"
#include "kernels/base/result.hpp"
#include "runtime/trace/bytes.hpp"

namespace sluice::trace {

/// A tensor or index column of a message, without its elements.
struct ArrayInfo {
  enum class State : std::uint8_t {
    kNone,    ///< an empty tensor
    kShape,   ///< a shape without elements (simulation without bodies)
    kValues,  ///< `digest` is that of the elements' bytes
  };
  State state = State::kNone;
  DType dtype = DType::kF32;
  Shape shape{};
  std::uint64_t digest = 0;
  friend bool operator==(const ArrayInfo&, const ArrayInfo&) = default;
};

/// "BF16 [4, 8]"
[[nodiscard]] std::string to_string(const ArrayInfo& info);

/// Met for each array while a message is encoded: gives the digest of its elements. `owner` is the
/// tensor they belong to, null for an index column.
class ArrayVisitor {
 public:
  virtual ~ArrayVisitor() = default;
  virtual std::uint64_t digest_of(DType dtype, const Shape& shape,
                                  std::span<const std::byte> elements, const Tensor* owner) = 0;
};

/// Appends key, kind and body of `message`; neither sender nor channel.
void encode(const actors::Message& message, ArrayVisitor& arrays, ByteWriter& out);

/// The pieces that records of other kinds are made of too.
void put_key(ByteWriter& out, const actors::Key& key);
[[nodiscard]] actors::Key take_key(ByteReader& in);
void put_array(ByteWriter& out, const ArrayInfo& info);
/// What is no array makes `in` not ok.
[[nodiscard]] ArrayInfo take_array(ByteReader& in);

/// Key and kind of an encoded message.
struct MessageHead {
  actors::Key key{};
  std::uint32_t kind = 0;  ///< Body::index()
};
[[nodiscard]] MessageHead take_head(ByteReader& bytes);
/// "dispatch of step 3, micro-batch 1, layer 2", or "StepStart".
[[nodiscard]] std::string to_string(const MessageHead& head);

/// One field of an encoded message, for people: "routing.scores".
struct Field {
  std::string name;
  std::string value;               ///< as text; of an array its type and shape
  std::optional<ArrayInfo> array;  ///< where it is one
};

/// Gives the elements of an array.
using ArraySource = std::function<Result<Tensor>(const ArrayInfo&)>;

/// The message, without sender and channel. Errors: bytes that are no message, and what `arrays`
/// says.
[[nodiscard]] Result<actors::Message> decode(ByteReader& bytes, const ArraySource& arrays);
/// Every field in order. Errors: bytes that are no message.
[[nodiscard]] Result<std::vector<Field>> fields(ByteReader bytes);
/// Arrays alone, in the same order.
[[nodiscard]] Result<std::vector<ArrayInfo>> arrays_of(ByteReader bytes);
/// The arrays of a message at hand, in that order and with those names; index columns as tensors of
/// their own.
[[nodiscard]] std::vector<std::pair<std::string, Tensor>> tensors_of(
    const actors::Message& message);

}  // namespace sluice::trace
