"""The words of a verdict: headline, answers, actions and gaps for every cause, made from what was found."""
