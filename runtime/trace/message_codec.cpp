// Visitors of message bodies: one that writes, one that reads, one that tells people.
#include "runtime/trace/message_codec.hpp"

#include <cstring>
#include <utility>

#include "actors/message_fields.hpp"

namespace sluice::trace {
namespace {

using actors::Body;
using actors::Key;
using actors::Message;
using actors::visit_body;

template <class T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

Shape length_of(const std::vector<std::int32_t>& column) {
  return Shape{static_cast<std::int64_t>(column.size())};
}

// ---- Writing

class Encoder {
 public:
  Encoder(ByteWriter& out, ArrayVisitor& arrays) : out_(out), arrays_(arrays) {}

  template <Plain T>
  void operator()(const char*, T value) {
    out_.put(value);
  }
  void operator()(const char*, const std::string& text) { out_.put_text(text); }
  template <Plain T>
  void operator()(const char*, const std::vector<T>& values) {
    out_.put(static_cast<std::uint32_t>(values.size()));
    for (const T value : values) out_.put(value);
  }
  void operator()(const char*, const Tensor& tensor) {
    ArrayInfo info;
    if (!tensor.empty()) info = {ArrayInfo::State::kShape, tensor.dtype(), tensor.shape(), 0};
    if (tensor.has_storage()) {
      info.state = ArrayInfo::State::kValues;
      info.digest =
          arrays_.digest_of(info.dtype, info.shape, {tensor.bytes(), tensor.size_bytes()}, &tensor);
    }
    put_array(out_, info);
  }
  void operator()(const char* name, const std::vector<Tensor>& tensors) {
    out_.put(static_cast<std::uint32_t>(tensors.size()));
    for (const Tensor& tensor : tensors) (*this)(name, tensor);
  }
  void column(const char*, const std::vector<std::int32_t>& values) {
    ArrayInfo info{ArrayInfo::State::kValues, DType::kI32, length_of(values), 0};
    info.digest = arrays_.digest_of(info.dtype, info.shape, bytes_of(values), nullptr);
    put_array(out_, info);
  }
  template <class T, class F>
  void list(const char*, const std::vector<T>& items, F&& visit_one) {
    out_.put(static_cast<std::uint32_t>(items.size()));
    for (const T& item : items) visit_one(item, *this);
  }

 private:
  ByteWriter& out_;
  ArrayVisitor& arrays_;
};

// ---- Reading

// Fills a body. Where there is no source, tensors stay shapes, columns empty, and what they were is
// in infos().
class Decoder {
 public:
  Decoder(ByteReader& in, const ArraySource* source) : in_(in), source_(source) {}
  [[nodiscard]] Status status() const {
    if (error_) return tl::unexpected(*error_);
    if (!in_.ok()) return failed("a record that is no message");
    return {};
  }
  [[nodiscard]] std::vector<ArrayInfo>& infos() { return infos_; }

  template <Plain T>
  void operator()(const char*, T& value) {
    in_.take_into(value);
  }
  void operator()(const char*, std::string& text) { text = in_.take_text(); }
  template <Plain T>
  void operator()(const char*, std::vector<T>& values) {
    values.resize(in_.take_count());
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = in_.take<T>();
  }
  void operator()(const char*, Tensor& tensor) {
    infos_.push_back(take_array(in_));
    const ArrayInfo& info = infos_.back();
    if (info.state == ArrayInfo::State::kNone) return;
    tensor = info.state == ArrayInfo::State::kValues && source_ != nullptr
                 ? elements(info)
                 : Tensor::meta(info.dtype, info.shape);
  }
  void operator()(const char* name, std::vector<Tensor>& tensors) {
    tensors.resize(in_.take_count());
    for (Tensor& tensor : tensors) (*this)(name, tensor);
  }
  void column(const char*, std::vector<std::int32_t>& values) {
    infos_.push_back(take_array(in_));
    if (source_ == nullptr) return;
    const Tensor tensor = elements(infos_.back());
    if (!tensor.has_storage()) return;
    const std::span<std::int32_t> from = tensor.values<std::int32_t>();
    values.assign(from.begin(), from.end());
  }
  template <class T, class F>
  void list(const char*, std::vector<T>& items, F&& visit_one) {
    items.resize(in_.take_count());
    for (T& item : items) visit_one(item, *this);
  }

 private:
  Tensor elements(const ArrayInfo& info) {
    if (error_ || !in_.ok()) return {};
    Result<Tensor> found = (*source_)(info);
    if (found) return std::move(*found);
    error_ = std::move(found).error();
    return {};
  }

  ByteReader& in_;
  const ArraySource* source_;
  std::vector<ArrayInfo> infos_;
  std::optional<Error> error_;
};

template <std::size_t... I>
bool emplace_body(Body& body, std::size_t kind, std::index_sequence<I...>) {
  return ((kind == I && (body.emplace<I>(), true)) || ...);
}

Status take_body(ByteReader& in, std::uint32_t kind, Body& body, Decoder& decoder) {
  if (!emplace_body(body, kind, std::make_index_sequence<std::variant_size_v<Body>>()))
    return failed("a message of an unknown kind {}", kind);
  std::visit([&](auto& b) { visit_body(b, decoder); }, body);
  SLUICE_TRY(decoder.status());
  if (!in.rest().empty()) return failed("a record with more than its message");
  return {};
}

// ---- Telling

// Names of what is met. A structure of a list that begins with its name goes by it:
// "model.norm.weight.value".
class Names {
 public:
  [[nodiscard]] std::string of(const char* name) const { return prefix_ + name; }
  void met_text(const char* name, const std::string& text) {
    if (!prefix_.empty() && std::strcmp(name, "name") == 0) prefix_ = text + ".";
  }
  template <class T, class F, class V>
  void list(const char* name, const std::vector<T>& items, F&& visit_one, V& visitor) {
    for (std::size_t i = 0; i < items.size(); ++i) {
      prefix_ = fmt::format("{}.{}.", name, i);
      visit_one(items[i], visitor);
    }
    prefix_.clear();
  }

 private:
  std::string prefix_;
};

class Teller {
 public:
  explicit Teller(std::vector<ArrayInfo> infos) : infos_(std::move(infos)) {}
  std::vector<Field> out;

  template <Plain T>
  void operator()(const char* name, T value) {
    if constexpr (std::is_enum_v<T>) {
      add(name, fmt::to_string(static_cast<int>(value)));
    } else {
      add(name, fmt::to_string(value));
    }
  }
  void operator()(const char* name, const std::string& text) {
    names_.met_text(name, text);
    add(name, text);
  }
  template <Plain T>
  void operator()(const char* name, const std::vector<T>& values) {
    add(name, fmt::format("[{}]", fmt::join(values, ", ")));
  }
  void operator()(const char* name, const Tensor&) {
    const ArrayInfo& info = infos_[next_++];
    add(name, to_string(info));
    out.back().array = info;
  }
  void operator()(const char* name, const std::vector<Tensor>& tensors) {
    add(name, fmt::format("{} of them", tensors.size()));
    for (std::size_t i = 0; i < tensors.size(); ++i)
      (*this)(fmt::format("{}.{}", name, i).c_str(), tensors[i]);
  }
  void column(const char* name, const std::vector<std::int32_t>&) { (*this)(name, Tensor()); }
  template <class T, class F>
  void list(const char* name, const std::vector<T>& items, F&& visit_one) {
    add(name, fmt::format("{} of them", items.size()));
    names_.list(name, items, visit_one, *this);
  }

 private:
  void add(const char* name, std::string value) {
    out.push_back({names_.of(name), std::move(value), {}});
  }

  std::vector<ArrayInfo> infos_;
  std::size_t next_ = 0;
  Names names_;
};

class Collector {
 public:
  std::vector<std::pair<std::string, Tensor>> out;

  void operator()(const char* name, const Tensor& tensor) {
    out.emplace_back(names_.of(name), tensor);
  }
  void operator()(const char* name, const std::vector<Tensor>& tensors) {
    for (std::size_t i = 0; i < tensors.size(); ++i)
      out.emplace_back(names_.of(fmt::format("{}.{}", name, i).c_str()), tensors[i]);
  }
  void operator()(const char* name, const std::string& text) { names_.met_text(name, text); }
  template <class T>
  void operator()(const char*, const T&) {}
  void column(const char* name, const std::vector<std::int32_t>& values) {
    out.emplace_back(names_.of(name), Tensor::from<std::int32_t>(values, length_of(values)));
  }
  template <class T, class F>
  void list(const char* name, const std::vector<T>& items, F&& visit_one) {
    names_.list(name, items, visit_one, *this);
  }

 private:
  Names names_;
};

}  // namespace

void put_key(ByteWriter& out, const Key& key) {
  const auto& [step, micro_batch, layer, topic, part] = key;  // a new field does not compile here
  out.put(step);
  out.put(micro_batch);
  out.put(layer);
  out.put(topic);
  out.put(part);
}

void put_array(ByteWriter& out, const ArrayInfo& info) {
  out.put(info.state);
  if (info.state == ArrayInfo::State::kNone) return;
  out.put(info.dtype);
  out.put(static_cast<std::uint8_t>(info.shape.rank()));
  for (int axis = 0; axis < info.shape.rank(); ++axis) out.put(info.shape[axis]);
  out.put(info.digest);
}

Key take_key(ByteReader& in) {
  Key key;
  auto& [step, micro_batch, layer, topic, part] = key;
  in.take_into(step);
  in.take_into(micro_batch);
  in.take_into(layer);
  in.take_into(topic);
  in.take_into(part);
  return key;
}

ArrayInfo take_array(ByteReader& in) {
  ArrayInfo info;
  in.take_into(info.state);
  if (info.state == ArrayInfo::State::kNone) return info;
  in.take_into(info.dtype);
  const auto rank = in.take<std::uint8_t>();
  if (info.state > ArrayInfo::State::kValues || info.dtype > DType::kF64 ||
      rank > Shape::kRankMax) {
    in.fail();
    return {};
  }
  for (int axis = 0; axis < rank; ++axis) info.shape.append(in.take<std::int64_t>());
  in.take_into(info.digest);
  return info;
}

void encode(const Message& message, ArrayVisitor& arrays, ByteWriter& out) {
  put_key(out, message.key);
  out.put(static_cast<std::uint32_t>(message.body.index()));
  Encoder encoder(out, arrays);
  std::visit([&encoder](const auto& body) { visit_body(body, encoder); }, message.body);
}

MessageHead take_head(ByteReader& bytes) {
  MessageHead head;
  head.key = take_key(bytes);
  bytes.take_into(head.kind);
  return head;
}

std::string to_string(const ArrayInfo& info) {
  return info.state == ArrayInfo::State::kNone
             ? "none"
             : fmt::format("{} {}", name_of(info.dtype), info.shape.to_string());
}

std::string to_string(const MessageHead& head) {
  if (head.key.topic > actors::Topic::kNextToken || head.kind >= std::variant_size_v<Body>)
    return "no message";
  return head.key.topic == actors::Topic::kControl ? std::string(actors::body_name(head.kind))
                                                   : to_string(head.key);
}

Result<Message> decode(ByteReader& bytes, const ArraySource& arrays) {
  const MessageHead head = take_head(bytes);
  Message message{.key = head.key};
  Decoder decoder(bytes, &arrays);
  SLUICE_TRY(take_body(bytes, head.kind, message.body, decoder));
  return message;
}

Result<std::vector<Field>> fields(ByteReader bytes) {
  const MessageHead head = take_head(bytes);
  Body body;
  Decoder decoder(bytes, nullptr);
  SLUICE_TRY(take_body(bytes, head.kind, body, decoder));
  Teller teller(std::move(decoder.infos()));
  std::visit([&teller](const auto& b) { visit_body(b, teller); }, body);
  return std::move(teller.out);
}

Result<std::vector<ArrayInfo>> arrays_of(ByteReader bytes) {
  const MessageHead head = take_head(bytes);
  Body body;
  Decoder decoder(bytes, nullptr);
  SLUICE_TRY(take_body(bytes, head.kind, body, decoder));
  return std::move(decoder.infos());
}

std::vector<std::pair<std::string, Tensor>> tensors_of(const Message& message) {
  Collector collector;
  std::visit([&collector](const auto& body) { visit_body(body, collector); }, message.body);
  return std::move(collector.out);
}

}  // namespace sluice::trace
