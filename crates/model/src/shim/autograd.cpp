// Custom autograd functions whose forward and backward are Rust (see ../autograd.rs).
//
// Tensors cross the border as `at::Tensor*`, the representation tch uses: those handed to Rust as
// arguments are owned by Rust afterwards, those handed back are owned here and freed.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <stdexcept>
#include <string>
#include <vector>

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

extern "C" {
// Each returns 0, or 1 after a failure. `inputs` are given to Rust; Rust fills `outputs` (null for "no gradient").
int relign_op_forward(void* op, at::Tensor** inputs, size_t n_inputs, at::Tensor** outputs, size_t n_outputs);
int relign_op_backward(void* op, at::Tensor** saved, size_t n_saved, at::Tensor** grads, size_t n_grads,
                       at::Tensor** outputs, size_t n_outputs);
void relign_op_drop(void* op);
}

namespace {

struct Op : torch::CustomClassHolder {
  explicit Op(void* pointer) : pointer(pointer) {}
  ~Op() override { relign_op_drop(pointer); }
  void* pointer;
};

std::vector<at::Tensor*> give(at::ArrayRef<at::Tensor> tensors) {
  std::vector<at::Tensor*> pointers;
  for (const auto& tensor : tensors) pointers.push_back(tensor.defined() ? new at::Tensor(tensor) : nullptr);
  return pointers;
}

variable_list take(const std::vector<at::Tensor*>& pointers) {
  variable_list tensors;
  for (auto* pointer : pointers) {
    tensors.push_back(pointer ? *pointer : at::Tensor());
    delete pointer;
  }
  return tensors;
}

struct RustFunction : torch::autograd::Function<RustFunction> {
  static variable_list forward(AutogradContext* ctx, at::TensorList inputs, Op* op, size_t n_outputs,
                               bool save_outputs) {
    auto arguments = give(inputs);
    std::vector<at::Tensor*> results(n_outputs, nullptr);
    if (relign_op_forward(op->pointer, arguments.data(), arguments.size(), results.data(), n_outputs))
      throw std::runtime_error("a kernel failed in its forward pass");
    auto outputs = take(results);
    ctx->saved_data["op"] = c10::IValue::make_capsule(c10::intrusive_ptr<Op>::reclaim_copy(op));
    ctx->saved_data["inputs"] = static_cast<int64_t>(inputs.size());
    variable_list saved(inputs.begin(), inputs.end());
    if (save_outputs) saved.insert(saved.end(), outputs.begin(), outputs.end());
    ctx->save_for_backward(saved);
    return outputs;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto capsule = ctx->saved_data["op"].toCapsule();
    auto* op = static_cast<Op*>(capsule.get());
    auto saved = give(ctx->get_saved_variables());
    auto incoming = give(grads);
    const auto n = static_cast<size_t>(ctx->saved_data["inputs"].toInt());
    std::vector<at::Tensor*> results(n, nullptr);
    if (relign_op_backward(op->pointer, saved.data(), saved.size(), incoming.data(), incoming.size(), results.data(),
                           n))
      throw std::runtime_error("a kernel failed in its backward pass");
    auto outputs = take(results);
    outputs.resize(n + 3);  // the op, the number of outputs and the flag have no gradient
    return outputs;
  }
};

}  // namespace

extern "C" {

// Applies `op` (owned from here on) to `inputs` (borrowed); fills `outputs` with tensors owned by the caller.
int relign_apply(void* op, at::Tensor** inputs, size_t n_inputs, at::Tensor** outputs, size_t n_outputs,
                 int save_outputs) {
  try {
    auto holder = c10::make_intrusive<Op>(op);
    std::vector<at::Tensor> arguments;
    for (size_t i = 0; i < n_inputs; ++i) arguments.push_back(*inputs[i]);
    auto results =
        RustFunction::apply(at::TensorList(arguments), holder.get(), n_outputs, save_outputs != 0);
    for (size_t i = 0; i < n_outputs; ++i) outputs[i] = new at::Tensor(results[i]);
    return 0;
  } catch (const std::exception&) {
    return 1;
  }
}

// Backpropagates `grad` from `tensor` (both borrowed); a failure's text is written to `message`.
int relign_backward(at::Tensor* tensor, at::Tensor* grad, char* message, size_t capacity) {
  try {
    torch::autograd::backward({*tensor}, {*grad});
    return 0;
  } catch (const std::exception& error) {
    std::string text = error.what();
    text.resize(std::min(text.size(), capacity - 1));
    std::copy(text.begin(), text.end(), message);
    message[text.size()] = 0;
    return 1;
  }
}

// Moves the gradient out of a leaf; null where there is none.
at::Tensor* relign_take_grad(at::Tensor* tensor) {
  auto& grad = tensor->mutable_grad();
  if (!grad.defined()) return nullptr;
  auto* taken = new at::Tensor(grad);
  grad.reset();
  return taken;
}

int relign_grad_enabled() { return at::GradMode::is_enabled(); }

}  // extern "C"
