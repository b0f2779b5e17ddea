"""Tables that are sheets of a workbook: Excel's .xlsx, .xlsm, .xlsb and .xls, and OpenDocument's .ods.

Knows which sheets and which of their rows are a table; knows nothing of what is made of the rows.
"""
