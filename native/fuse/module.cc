// The N-API module of this addon: registers its functions and nothing else.
#include <node_api.h>

NAPI_MODULE_INIT() { (void)env; return exports; }
