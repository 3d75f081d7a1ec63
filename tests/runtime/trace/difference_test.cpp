// Two messages that part: in kind, in a number, in an element.
#include "runtime/trace/difference.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/base/digest.hpp"

namespace sluice::trace {
namespace {

using actors::Message;

class Digester final : public ArrayVisitor {
 public:
  std::uint64_t digest_of(DType, const Shape&, std::span<const std::byte> elements,
                          const Tensor*) override {
    return digest(elements);
  }
};

class Side {
 public:
  explicit Side(Message message) : message_(std::move(message)) {
    Digester digester;
    encode(message_, digester, bytes_);
  }
  [[nodiscard]] Told told(bool with_elements = true) const {
    return {bytes_.bytes(), [this, with_elements](const ArrayInfo& info) -> Result<Tensor> {
              for (const auto& [name, tensor] : tensors_of(message_))
                if (with_elements && tensor.shape() == info.shape) return tensor;
              return failed("none");
            }};
  }

 private:
  Message message_;
  ByteWriter bytes_;
};

Message hidden(DType dtype, std::int64_t changed, double by) {
  Tensor rows = Tensor::zeros(dtype, {4, 8});
  if (changed >= 0 && dtype == DType::kF32)
    rows.values<float>()[static_cast<std::size_t>(changed)] = static_cast<float>(by);
  if (changed >= 0 && dtype == DType::kBF16)
    rows.values<BF16>()[static_cast<std::size_t>(changed)] =
        BF16::from_float(static_cast<float>(by));
  return {.key = {3, 1, 0, actors::Topic::kActivation, 0}, .body = actors::Hidden{rows, 0}};
}

Difference differ(const Side& here, const Side& there, bool with_elements = true) {
  const auto found = compare(here.told(with_elements), there.told(with_elements));
  EXPECT_TRUE(found && *found);
  return found && *found ? **found : Difference{};
}

TEST(Difference, NoneBetweenEqualMessages) {
  const Side here(hidden(DType::kF32, 3, NAN)), there(hidden(DType::kF32, 3, NAN));
  const auto found = compare(here.told(), there.told());
  ASSERT_TRUE(found);
  EXPECT_FALSE(*found);
}

TEST(Difference, NamesTheFirstElement) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const Difference got = differ(Side(hidden(dtype, 13, 0.5)), Side(hidden(dtype, 21, 0.25)));
    EXPECT_EQ(got.field, "rows");
    EXPECT_EQ(got.element, "[1, 5]");
    EXPECT_EQ(got.here, "0.5");
    EXPECT_EQ(got.there, "0");
    EXPECT_EQ(got.elements_differ, 2);
    EXPECT_EQ(got.elements, 32);
    EXPECT_EQ(got.distance_max, 0.5);
  }
  Difference got = differ(Side(hidden(DType::kF32, 13, 0.5)), Side(hidden(DType::kF32, -1, 0)));
  got.actor = "stage 0";
  got.receiver = "stage 1";
  EXPECT_EQ(to_string(got, "recorded", "replayed"),
            "stage 0: activation of step 3, micro-batch 1, layer 0 to stage 1 differs in rows F32 "
            "[4, 8], "
            "first at [1, 5]: 0.5 recorded, 0 replayed (1 of 32 elements differ, by 0.5 at most)");
}

TEST(Difference, SeesTheSignOfZeroAndNaN) {
  const Difference zero =
      differ(Side(hidden(DType::kF32, 2, -0.0)), Side(hidden(DType::kF32, -1, 0)));
  EXPECT_EQ(zero.element, "[0, 2]");
  EXPECT_EQ(zero.here, "-0");
  EXPECT_EQ(differ(Side(hidden(DType::kF32, 2, NAN)), Side(hidden(DType::kF32, -1, 0))).here,
            "nan");
}

TEST(Difference, WithoutElementsTellsDigests) {
  const Difference got =
      differ(Side(hidden(DType::kF32, 2, 1)), Side(hidden(DType::kF32, 3, 1)), false);
  EXPECT_EQ(got.field, "rows");
  EXPECT_EQ(got.element, "");
  EXPECT_TRUE(got.here.starts_with("digest "));
  EXPECT_NE(got.here, got.there);
}

TEST(Difference, NamesANumberAndAShape) {
  const Message a{.key = {3, 0, 0, actors::Topic::kLoss, 0}, .body = actors::LossPart{1.5, {2}}};
  const Message b{.key = {3, 0, 0, actors::Topic::kLoss, 0}, .body = actors::LossPart{1.5, {2.5}}};
  const Difference number = differ(Side(a), Side(b));
  EXPECT_EQ(number.field, "mtp");
  EXPECT_EQ(number.here, "[2]");
  EXPECT_EQ(number.there, "[2.5]");

  Message wide = hidden(DType::kF32, -1, 0);
  std::get<actors::Hidden>(wide.body).rows = Tensor::zeros(DType::kF32, {4, 9});
  const Difference shape = differ(Side(hidden(DType::kF32, -1, 0)), Side(wide));
  EXPECT_EQ(shape.here, "F32 [4, 8]");
  EXPECT_EQ(shape.there, "F32 [4, 9]");
}

TEST(Difference, NamesAnotherMessage) {
  Message other = hidden(DType::kF32, -1, 0);
  other.key.micro_batch = 2;
  const Difference got = differ(Side(hidden(DType::kF32, -1, 0)), Side(other));
  EXPECT_EQ(got.field, "");
  EXPECT_EQ(got.here, "activation of step 3, micro-batch 1, layer 0");
  EXPECT_EQ(got.there, "activation of step 3, micro-batch 2, layer 0");
}

}  // namespace
}  // namespace sluice::trace
