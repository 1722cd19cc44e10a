"""From fp32 to fp16 and int8: measurement, planning and conversion."""
