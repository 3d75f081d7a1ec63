// The plot is a grid of dots; columns that several steps share show their mean.
#include "runtime/cli/loss_curve.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace sluice {
namespace {

using Point = engine::MetricsHistory::Point;

class Canvas {
 public:
  Canvas(int width, int height)
      : width_(width),
        height_(height),
        dots_(static_cast<std::size_t>(width * height), 0),
        marks_(static_cast<std::size_t>(width * height), nullptr) {}

  // x in [0, 2·width), y in [0, 4·height) from the top.
  void dot(int x, int y) {
    static constexpr unsigned char kBits[4][2] = {
        {0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    if (x < 0 || y < 0 || x >= 2 * width_ || y >= 4 * height_) return;
    dots_[index(x / 2, y / 4)] |= kBits[y % 4][x % 2];
  }
  void mark(int x, int y, const char* text) {
    if (x < 0 || y < 0 || x >= 2 * width_ || y >= 4 * height_) return;
    marks_[index(x / 2, y / 4)] = text;
  }
  [[nodiscard]] std::string row(int r) const {
    std::string out;
    for (int c = 0; c < width_; ++c) {
      if (const char* text = marks_[index(c, r)]) {
        out += text;
      } else if (const unsigned bits = dots_[index(c, r)]; bits == 0) {
        out += ' ';
      } else {  // U+2800 + bits
        out += static_cast<char>(0xE2);
        out += static_cast<char>(0xA0 + (bits >> 6));
        out += static_cast<char>(0x80 + (bits & 0x3f));
      }
    }
    while (!out.empty() && out.back() == ' ') out.pop_back();
    return out;
  }

 private:
  [[nodiscard]] std::size_t index(int c, int r) const {
    return static_cast<std::size_t>(r * width_ + c);
  }
  int width_, height_;
  std::vector<unsigned char> dots_;
  std::vector<const char*> marks_;
};

struct Scale {
  double low, high;
  int cells;
  [[nodiscard]] int operator()(double value) const {
    return static_cast<int>(std::lround((value - low) / (high - low) * (cells - 1)));
  }
};

}  // namespace

std::string draw_loss_curve(const engine::MetricsHistory& history, int width, int height) {
  double low = history.training.front().loss, high = low;
  const auto widen = [&](double loss) {
    if (!std::isfinite(loss)) return;
    low = std::min(low, loss);
    high = std::max(high, loss);
  };
  for (const Point& point : history.training) widen(point.loss);
  for (const Point& point : history.validation) widen(point.loss);
  if (history.unigram_loss > 0) widen(history.unigram_loss);
  if (high - low < 1e-9) high = low + 1;
  const double last =
      static_cast<double>(std::max<std::int64_t>(1, history.training.back().step + 1));
  const Scale x{0, last, 2 * width};
  const Scale y{low, high, 4 * height};
  const auto from_top = [&](double loss) { return 4 * height - 1 - y(loss); };

  Canvas canvas(width, height);
  if (history.unigram_loss > 0) {
    for (int c = 0; c < 2 * width; c += 3) canvas.dot(c, from_top(history.unigram_loss));
  }
  std::vector<std::pair<double, int>> columns(static_cast<std::size_t>(2 * width), {0.0, 0});
  for (const Point& point : history.training) {
    if (!std::isfinite(point.loss)) continue;
    auto& [sum, count] = columns[static_cast<std::size_t>(x(static_cast<double>(point.step)))];
    sum += point.loss;
    ++count;
  }
  for (int c = 0; c < 2 * width; ++c) {
    const auto& [sum, count] = columns[static_cast<std::size_t>(c)];
    if (count > 0) canvas.dot(c, from_top(sum / count));
  }
  for (const Point& point : history.validation) {
    if (std::isfinite(point.loss))
      canvas.mark(x(static_cast<double>(point.step)), from_top(point.loss), "x");
  }

  std::string out;
  for (int r = 0; r < height; ++r) {
    const double value = high - (high - low) * r / (height - 1);
    out += r % 4 == 0 || r + 1 == height ? fmt::format("{:7.3f} |", value) : "        |";
    out += canvas.row(r) + "\n";
  }
  out += "        +" + std::string(static_cast<std::size_t>(width), '-') + "\n";
  out += fmt::format("         0{:>{}}\n", fmt::format("{:.0f} steps", last), width - 1);
  out += "         dots: training loss";
  if (!history.validation.empty())
    out += fmt::format("   x: validation ({:.4f})", history.validation.back().loss);
  if (history.unigram_loss > 0)
    out += fmt::format("   dotted line: unigram entropy ({:.4f})", history.unigram_loss);
  return out + "\n";
}

}  // namespace sluice
