// Tensors: shapes, slices that share storage, metas without storage, and element types.
#include "kernels/base/tensor.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/base/digest.hpp"
#include "kernels/base/result.hpp"

namespace sluice {
namespace {

TEST(Shape, CountsRowsAndColumns) {
  const Shape shape{2, 3, 4};
  EXPECT_EQ(shape.count(), 24);
  EXPECT_EQ(shape.rows(), 6);
  EXPECT_EQ(shape.columns(), 4);
  EXPECT_EQ(shape.to_string(), "[2, 3, 4]");
  EXPECT_EQ(Shape{}.count(), 1);
}

TEST(Tensor, SliceSharesStorage) {
  const std::vector<float> values{0, 1, 2, 3, 4, 5};
  const Tensor t = Tensor::from<float>(values, Shape{3, 2});
  const Tensor s = t.slice(1, 2);
  s.values<float>()[0] = 20;
  EXPECT_EQ(t.values<float>()[2], 20);
  EXPECT_EQ(s.shape(), (Shape{2, 2}));
}

TEST(Tensor, MetaHasShapeAndNoStorage) {
  const Tensor t = Tensor::meta(DType::kBF16, Shape{5, 7});
  EXPECT_FALSE(t.has_storage());
  EXPECT_EQ(t.size_bytes(), 70u);
  EXPECT_FALSE(t.slice(1, 2).has_storage());
  EXPECT_DEATH((void)t.view(), "no storage");
}

TEST(Tensor, ViewRefusesAnotherType) {
  const Tensor t = Tensor::zeros(DType::kI32, Shape{2});
  EXPECT_DEATH((void)t.values<float>(), "I32");
}

TEST(BF16, RoundsToNearestEvenAndKeepsNaN) {
  EXPECT_EQ(BF16::from_float(1.0f).to_float(), 1.0f);
  EXPECT_EQ(BF16::from_float(1.0f + 0x1p-8f).to_float(), 1.0f);  // a tie goes to even
  EXPECT_EQ(BF16::from_float(1.0f + 0x1p-7f + 0x1p-8f).to_float(), 1.0f + 0x1p-6f);
  EXPECT_TRUE(std::isnan(BF16::from_float(std::nanf("")).to_float()));
}

TEST(Digest, DependsOnShapeAndElements) {
  const Tensor a = Tensor::zeros(DType::kF32, Shape{2, 3});
  EXPECT_NE(digest(a), digest(a.reshaped(Shape{3, 2})));
  const std::uint64_t before = digest(a);
  a.values<float>()[5] = 1;
  EXPECT_NE(digest(a), before);
}

Result<int> half(int x) {
  if (x % 2 != 0) return invalid_input("{} is odd", x);
  return x / 2;
}
Result<int> quarter(int x) {
  SLUICE_ASSIGN(const int h, half(x));
  SLUICE_TRY(half(h));
  return h / 2;
}

TEST(Result, TryPassesTheErrorUp) {
  EXPECT_EQ(*quarter(8), 2);
  EXPECT_EQ(quarter(6).error().message, "3 is odd");
  EXPECT_EQ(quarter(6).error().kind, ErrorKind::kInvalidInput);
}

}  // namespace
}  // namespace sluice
