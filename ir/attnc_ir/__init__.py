"""The intermediate representation of attnc: types, values, ops, attributes, text form, verifier, reference
interpreter.
"""
