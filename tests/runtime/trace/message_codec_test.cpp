// Every message there is, with every field changed in turn.
#include "runtime/trace/message_codec.hpp"

#include <gtest/gtest.h>

#include <map>

#include "actors/message_fields.hpp"
#include "kernels/base/digest.hpp"

namespace sluice::trace {
namespace {

using actors::Body;
using actors::Message;

// Gives every field of a body a value of its own; the field with number `other` another one.
class Filler {
 public:
  explicit Filler(int other) : other_(other) {}
  [[nodiscard]] int count() const { return next_; }

  template <Plain T>
  void operator()(const char*, T& value) {
    if constexpr (std::is_same_v<T, bool>) {
      value = number() != 0;
    } else {
      value = static_cast<T>(number());
    }
  }
  void operator()(const char*, std::string& text) { text = std::to_string(number()); }
  template <Plain T>
  void operator()(const char*, std::vector<T>& values) {
    values.assign(3, T{});
    for (T& value : values) (*this)("", value);
  }
  void operator()(const char*, Tensor& tensor) {
    tensor = Tensor::zeros(DType::kF32, {2, 3});
    tensor.values<float>()[4] = static_cast<float>(number());
  }
  void operator()(const char*, std::vector<Tensor>& tensors) {
    tensors.resize(2);
    for (Tensor& tensor : tensors) (*this)("", tensor);
  }
  void column(const char*, std::vector<std::int32_t>& values) { (*this)("", values); }
  template <class T, class F>
  void list(const char*, std::vector<T>& items, F&& visit_one) {
    items.resize(2);
    for (T& item : items) visit_one(item, *this);
  }

 private:
  int number() { return next_++ == other_ ? 0 : next_; }
  int other_;
  int next_ = 0;
};

// Keeps the elements by their digest.
class Store final : public ArrayVisitor {
 public:
  std::uint64_t digest_of(DType dtype, const Shape& shape, std::span<const std::byte> elements,
                          const Tensor*) override {
    const std::uint64_t key = digest(elements);
    Tensor copy = Tensor::zeros(dtype, shape);
    std::copy(elements.begin(), elements.end(), copy.bytes());
    tensors_[key] = copy;
    return key;
  }
  [[nodiscard]] ArraySource source() const {
    return [this](const ArrayInfo& info) -> Result<Tensor> {
      const auto found = tensors_.find(info.digest);
      if (found == tensors_.end()) return failed("no such elements");
      return found->second;
    };
  }

 private:
  std::map<std::uint64_t, Tensor> tensors_;
};

template <std::size_t I>
Message filled(int other, int* count) {
  Message message{.key = {7, 1, 2, actors::Topic::kDispatch, 3}};
  message.body.emplace<I>();
  Filler filler(other);
  actors::visit_body(std::get<I>(message.body), filler);
  *count = filler.count();
  return message;
}

std::vector<std::byte> encoded(const Message& message, Store& store) {
  ByteWriter out;
  encode(message, store, out);
  return {out.bytes().begin(), out.bytes().end()};
}

template <std::size_t I>
void check_body() {
  Store store;
  int count = 0;
  const std::vector<std::byte> bytes = encoded(filled<I>(-1, &count), store);
  ByteReader reader(bytes);
  const Result<Message> back = decode(reader, store.source());
  ASSERT_TRUE(back) << actors::body_name(I) << ": " << back.error().message;
  EXPECT_EQ(back->body.index(), I);
  EXPECT_EQ(encoded(*back, store), bytes) << actors::body_name(I);

  const auto before = fields(ByteReader(bytes));
  ASSERT_TRUE(before);
  for (int other = 0; other < count; ++other) {
    int unused = 0;
    const std::vector<std::byte> changed = encoded(filled<I>(other, &unused), store);
    EXPECT_NE(changed, bytes) << actors::body_name(I) << ", field " << other;
    const auto after = fields(ByteReader(changed));
    ASSERT_TRUE(after && after->size() == before->size());
    int differ = 0;
    for (std::size_t i = 0; i < after->size(); ++i) {
      differ += (*before)[i].value != (*after)[i].value || (*before)[i].array != (*after)[i].array;
    }
    EXPECT_GE(differ, 1) << actors::body_name(I) << ", field " << other;
  }
  // Cut anywhere, the bytes are no message.
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    ByteReader cut(std::span<const std::byte>(bytes.data(), length));
    EXPECT_FALSE(decode(cut, store.source())) << actors::body_name(I) << " cut at " << length;
  }
}

template <std::size_t... I>
void check_all(std::index_sequence<I...>) {
  (check_body<I>(), ...);
}

TEST(MessageCodec, EveryBodyComesBackAndEveryFieldCounts) {
  check_all(std::make_index_sequence<std::variant_size_v<Body>>());
}

TEST(MessageCodec, NamesFieldsAndArrays) {
  actors::Dispatch dispatch;
  dispatch.normed = Tensor::zeros(DType::kBF16, {4, 8});
  dispatch.routing.experts = Tensor::meta(DType::kI32, {4, 2});
  const Message message{.key = {3, 1, 2, actors::Topic::kDispatch, 0}, .body = dispatch};
  Store store;
  const std::vector<std::byte> bytes = encoded(message, store);
  ByteReader reader(bytes);
  EXPECT_EQ(to_string(take_head(reader)), "dispatch of step 3, micro-batch 1, layer 2");
  const auto got = fields(ByteReader(bytes));
  ASSERT_TRUE(got);
  ASSERT_EQ(got->size(), 6U);
  EXPECT_EQ((*got)[0].name, "normed");
  EXPECT_EQ((*got)[0].value, "BF16 [4, 8]");
  EXPECT_EQ((*got)[0].array->state, ArrayInfo::State::kValues);
  EXPECT_EQ((*got)[1].name, "routing.scores");
  EXPECT_EQ((*got)[1].array->state, ArrayInfo::State::kNone);
  EXPECT_EQ((*got)[2].array->state, ArrayInfo::State::kShape);
  EXPECT_EQ(tensors_of(message).size(), 4U);
  EXPECT_EQ(arrays_of(ByteReader(bytes))->size(), 4U);
}

TEST(MessageCodec, FieldsOfAListGoByItsNames) {
  actors::GradientSquares squares;
  squares.entries = {{"model.norm.weight", 2.5}, {"lm_head.weight", 3.5}};
  Store store;
  const auto got = fields(ByteReader(encoded(Message{.body = squares}, store)));
  ASSERT_TRUE(got);
  EXPECT_EQ(got->back().name, "lm_head.weight.sum");
  EXPECT_EQ(got->back().value, "3.5");
}

}  // namespace
}  // namespace sluice::trace
