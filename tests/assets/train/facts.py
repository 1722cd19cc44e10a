"""Sentences that state a fact, and the questions each answers, for the question-answering recipe."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fact:
    """`questions`: slot -> ways to ask for it; they may name the fact's other slots."""

    sentences: tuple[str, ...]
    questions: dict[str, tuple[str, ...]]


FACTS = (
    Fact(
        ("{PER} was born in {LOC} on {DATE}.", "{LOC} is the place where {PER} was born on {DATE}."),
        {
            "LOC": ("Where was {PER} born?", "In which town was {PER} born?"),
            "DATE": ("When was {PER} born?", "What is the birthday of {PER}?"),
            "PER": ("Who was born in {LOC}?", "Who was born on {DATE}?"),
        },
    ),
    Fact(
        ("{ORG} has hired {PER} as its new head of sales.", "{PER} joined {ORG} as head of sales."),
        {
            "PER": ("Who is the new head of sales?", "Who did {ORG} hire?"),
            "ORG": ("Who hired {PER}?", "Which firm has a new head of sales?"),
        },
    ),
    Fact(
        ("{PER} works for {ORG} in {LOC}.", "In {LOC}, {PER} has a job at {ORG}."),
        {
            "ORG": ("Who does {PER} work for?", "Where does {PER} have a job?"),
            "PER": ("Who works for {ORG}?", "Who has a job at {ORG}?"),
            "LOC": ("In which town does {PER} work?",),
        },
    ),
    Fact(
        ("{PER} flew to {LOC} on {DAY}.", "On {DAY}, {PER} took a plane to {LOC}."),
        {
            "LOC": ("Where did {PER} fly to?", "Where did the plane go?"),
            "DAY": ("On which day did {PER} fly?", "When was the flight to {LOC}?"),
            "PER": ("Who flew to {LOC}?", "Who took a plane?"),
        },
    ),
    Fact(
        ("The offices of {ORG} in {LOC} will close on {DATE}.", "{ORG} will close its offices in {LOC} on {DATE}."),
        {
            "DATE": ("When will the offices close?", "When does {ORG} close its offices?"),
            "LOC": ("Where will the offices close?", "Which offices will {ORG} close?"),
            "ORG": ("Who will close its offices?", "Whose offices in {LOC} will close?"),
        },
    ),
    Fact(
        ("{ORG} was sold for {MONEY}.", "A buyer has paid {MONEY} for {ORG}."),
        {
            "MONEY": ("How much was paid for {ORG}?", "For how much was {ORG} sold?"),
            "ORG": ("Which firm was sold?", "What was sold for {MONEY}?"),
        },
    ),
    Fact(
        ("{PER} gave a talk about the weather in {LOC}.", "In {LOC}, {PER} spoke about the weather."),
        {
            "PER": ("Who spoke about the weather?", "Who gave a talk in {LOC}?"),
            "LOC": ("Where was the talk about the weather?", "Where did {PER} speak?"),
        },
    ),
    Fact(
        ("{ORG} was founded in {LOC} by {PER}.", "{PER} founded {ORG} in {LOC}."),
        {
            "PER": ("Who founded {ORG}?", "Who is the founder of {ORG}?"),
            "LOC": ("Where was {ORG} founded?",),
            "ORG": ("What did {PER} found?", "Which firm was founded in {LOC}?"),
        },
    ),
    Fact(
        (
            "{COUNT} people live in {LOC}, says the mayor {PER}.",
            "{PER} is the mayor of {LOC}, where {COUNT} people live.",
        ),
        {
            "COUNT": ("How many people live in {LOC}?", "What is the population of {LOC}?"),
            "PER": ("Who is the mayor of {LOC}?", "Who is the mayor?"),
            "LOC": ("Where is {PER} the mayor?",),
        },
    ),
    Fact(
        ("{PER} won the race in {LOC} on {DATE}.", "The race on {DATE} in {LOC} was won by {PER}."),
        {
            "PER": ("Who won the race?", "Who was first in the race in {LOC}?"),
            "LOC": ("Where was the race?",),
            "DATE": ("When was the race?", "On which date did {PER} win?"),
        },
    ),
    Fact(
        ("{ORG} has {COUNT} employees.", "There are {COUNT} employees at {ORG}."),
        {
            "COUNT": ("How many employees does {ORG} have?", "How many employees are there?"),
            "ORG": ("Which firm has {COUNT} employees?",),
        },
    ),
    Fact(
        ("{PER} bought a house in {LOC} for {MONEY}.", "For {MONEY}, {PER} bought a house in {LOC}."),
        {
            "MONEY": ("How much did the house cost?", "What did {PER} pay for the house?"),
            "LOC": ("Where is the house?", "Where did {PER} buy a house?"),
            "PER": ("Who bought a house?",),
        },
    ),
)

FILLERS = (
    "It rained all week, so we stayed at home and read.",
    "Nobody answered the phone this morning; try again after lunch.",
    "Prices fell in March.",
    "The trains were late again.",
    "{PER} did not want to say more.",
    "Many visitors came to {LOC} this summer.",
    "Shares of {ORG} rose a little.",
    "{PER} and {PER2} met for lunch.",
    "According to {ORG}, nothing has changed.",
    "The weather was fine on {DAY}.",
)
