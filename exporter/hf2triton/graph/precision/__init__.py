"""From fp32 to fp16 and int8: what is measured, what is planned, and the conversion."""
