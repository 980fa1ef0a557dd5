"""What requests and answers look like: pydantic models alone, which know neither the engine nor HTTP."""
