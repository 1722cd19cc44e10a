"""Runs the code of a decoder's entry in a process that has neither Triton nor our packages."""

#: Triton's module as far as the frontend uses it.
STUB = """
import numpy as np
TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1
class Tensor:
    def __init__(self, name, array): self.name, self.array = name, array
    def as_numpy(self): return self.array
class TritonError(Exception):
    INVALID_ARG, UNAVAILABLE, INTERNAL = "INVALID_ARG", "UNAVAILABLE", "INTERNAL"
    def __init__(self, message, code): super().__init__(message); self.message, self.code = message, code
class InferenceResponse:
    def __init__(self, tensors=(), error=None): self.tensors, self.error = tensors, error
class Logger:
    log_info = staticmethod(print)
class MetricFamily:
    COUNTER, GAUGE = "COUNTER", "GAUGE"
    def __init__(self, name, description, kind): pass
    def Metric(self, labels): return self
    def increment(self, value): assert value > 0
    def set(self, value): pass
class InferenceRequest: pass
def get_input_tensor_by_name(request, name): return request.inputs.get(name)
"""
#: Runs a version folder without our packages; prints what each of the texts on stdin is answered.
ALONE = """
import importlib, json, queue, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Block())
sys.path[:0] = [{stub!r}, {entry!r}]
import numpy as np
import triton_python_backend_utils as triton
model = importlib.import_module("1.model").TritonPythonModel()
config = {{"parameters": json.loads({parameters!r})}}
model.initialize({{"model_repository": {entry!r}, "model_version": "1", "model_config": json.dumps(config),
    "model_instance_kind": "CPU", "model_instance_device_id": "0", "model_name": "verses"}})
class Request:
    def __init__(self, text, settings):
        self.said, self.own = queue.Queue(), {{}}
        self.inputs = {{"text_input": triton.Tensor("", np.array([text.encode()], object)),
            "sampling_parameters": triton.Tensor("", np.array([settings.encode()], object))}}
    def parameters(self): return ""
    def timeout(self): return 0
    def requested_output_names(self): return ["text_output", "token_ids"]
    def get_response_sender(self): return self
    def is_cancelled(self): return False
    def send(self, response=None, flags=0): self.said.put((response, flags))
requests = [Request(*one) for one in json.load(sys.stdin)]
model.execute(requests)
answers = []
for request in requests:
    response, flags = request.said.get(timeout=60)
    assert flags == 1
    if response.error:
        answers.append([response.error.code, response.error.message])
    else:
        outputs = {{tensor.name: tensor.array for tensor in response.tensors}}
        answers.append([outputs["text_output"][0].decode(), outputs["token_ids"].tolist()])
model.finalize()
assert all(request.said.empty() for request in requests)
print(json.dumps(answers))
"""
